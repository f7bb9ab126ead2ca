"""A page under attack: 1,000 garbage requests a second and browsers that do not read. Is one sample dropped, one event other?

python benchmarks/page_flood.py [--seconds 60] [--rate 1000]

Two runs of `edge-lupi listen --page-at` hear the same speech at the pace of a microphone, from a pipe that cannot wait: one in
peace, one under attack. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import sys
import tempfile
import threading
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.page.flooding import comparable, flood, unread
from tests.page.running import TWO_VOICES, Running, running

PROCESSES, THREADS = 3, 16
apart = multiprocessing.get_context("spawn")  # a copy of this process would keep the listener's pipe open
STUCK = 8


def speak(listener: Running, samples: np.ndarray) -> None:
    """As a microphone does, a tenth of a second at a time, whatever the listener does."""
    began_seconds = time.monotonic()
    for number, block in enumerate(np.array_split(samples, len(samples) // 1_600), start=1):
        listener.write(block.astype("<i2").tobytes())
        time.sleep(max(0.0, began_seconds + number / 10 - time.monotonic()))
    listener.close()
    listener.wait_for_end()


def attack(port: int, stopped: Event, first: int, sent: list[int], per_second: float) -> None:
    """One process of several: some threads, each with its part of the requests."""
    threads = [
        threading.Thread(target=flood, args=(port, stopped, seed, sent, per_second / (PROCESSES * THREADS)))
        for seed in range(first, first + THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run(samples: np.ndarray, per_second: float) -> tuple[list[dict[str, object]], int, str]:
    """Events, requests that were sent, and what the listener says of itself."""
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), "--rate", "16000", sound="-") as listener:
        stopped, sent = apart.Event(), apart.Array("l", PROCESSES * THREADS)
        stuck = [unread(listener.port) for _ in range(STUCK)] if per_second else []
        attacks = [
            apart.Process(target=attack, args=(listener.port, stopped, first, sent, per_second), daemon=True)
            for first in range(0, PROCESSES * THREADS if per_second else 0, THREADS)
        ]
        for one in attacks:
            one.start()
        speak(listener, samples)
        stopped.set()
        for one in stuck:
            one.close()
        listener.stop()
        line = next(line for line in listener.said.splitlines() if line.startswith("heard "))
        return comparable(listener.events), sum(sent), line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rate", type=float, default=1_000.0)
    arguments = parser.parse_args()
    samples = np.resize(soundfile.read(TWO_VOICES, dtype="int16")[0], arguments.seconds * 16_000)
    quiet, _, in_peace = run(samples, 0.0)
    events, sent, attacked = run(samples, arguments.rate)
    for name, line in (("in peace", in_peace), ("attacked", attacked)):
        print(f"{name:9} {line}")
    dropped = int(re.search(r"dropped (\d+) samples", attacked)[1])  # type: ignore[index]
    report = {
        "seconds": arguments.seconds,
        "requests_per_second": round(sent / arguments.seconds),
        "browsers_that_do_not_read": STUCK,
        "dropped": dropped,
        "events": len(events),
        "same_events": events == quiet,
        "load": [round(load, 1) for load in os.getloadavg()],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
