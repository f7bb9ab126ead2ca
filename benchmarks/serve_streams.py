"""How late are the events of `edge-lupi serve` where many clients send real speech at its pace, on one core?

python benchmarks/serve_streams.py [--streams 32] [--seconds 60] [--out benchmarks/results/serve_streams.md]

The service runs in a process of its own, on one core; the clients, a WebSocket each, on the others. Every stream is another
piece of speech, in blocks of 0.1 s that become due by the clock, the streams spread over it. `service` is the event's own
latency_ms: from the block with the segment's last sample to the event. `client` is what a client has of it: from the moment
that sample was due to the moment the event is there. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from sounds import clips
from websockets.asyncio.client import connect

from edge_lupi.device.processor import environment
from edge_lupi.sound.audio import to_pcm

ROOT = Path(__file__).resolve().parents[1]
BLOCK_SECONDS, HOP_SECONDS = 0.1, 0.5
BLOCK_SAMPLES = round(16_000 * BLOCK_SECONDS)


async def stream(
    at: str, samples: np.ndarray, begin_seconds: float
) -> tuple[list[tuple[float, float]], dict[str, Any]]:
    """One client: of each event the latency in seconds, of the service and its own; and the last line."""
    latencies, last = list[tuple[float, float]](), dict[str, Any]()
    async with connect(f"ws://{at}/listen", compression=None, proxy=None, ping_interval=None) as socket:

        async def send() -> None:
            for number, block in enumerate(np.split(samples, len(samples) // BLOCK_SAMPLES), start=1):
                await asyncio.sleep(max(0.0, begin_seconds + number * BLOCK_SECONDS - time.perf_counter()))
                await socket.send(block.astype("<i2").tobytes())
            await socket.send('{"type": "end"}')

        sending = asyncio.ensure_future(send())
        async for line in socket:
            now, said = time.perf_counter() - begin_seconds, json.loads(line)
            if "task" in said:
                service = said["latency_ms"] / 1000
                due = (
                    (now - service) // HOP_SECONDS * HOP_SECONDS
                )  # of the segment that decided; the first ends after 1 s
                latencies.append((service, now - due))
            last = said
        await sending
    return latencies, last


async def all_streams(at: str, count: int, seconds: int) -> list[tuple[list[tuple[float, float]], dict[str, Any]]]:
    speech = to_pcm(np.concatenate(clips(60)))
    begin = time.perf_counter() + 2.0
    pieces = [np.roll(speech, -number * len(speech) // count)[: seconds * 16_000] for number in range(count)]
    spread = [begin + HOP_SECONDS * number / count for number in range(count)]
    return await asyncio.gather(*(stream(at, piece, when) for piece, when in zip(pieces, spread, strict=True)))


def served(folder: Path, count: int, words: list[str]) -> tuple[subprocess.Popen[bytes], str]:
    """A service on the last core, and where it is."""
    said = folder / "said.txt"
    core = max(os.sched_getaffinity(0))
    verb = [sys.executable, "-m", "edge_lupi.cli", "serve", "--at", "127.0.0.1:0", "--streams", str(count), *words]
    with said.open("w") as file:
        process = subprocess.Popen(
            [*verb, "--gallery", str(folder / "people.json")],
            stderr=file,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
    while not (found := re.search(r"serves at http://(\S+?)/", said.read_text())):
        assert process.poll() is None, said.read_text()
        time.sleep(0.1)
    return process, found[1]


def waited_for_a_turn(pid: int) -> float:
    """Seconds for which the listener's thread, the first, could have run and another process had the core."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def counts(at: str) -> dict[str, float]:
    """What the service counts, but for what has labels."""
    with urllib.request.urlopen(f"http://{at}/metrics") as answer:
        lines = [line.split() for line in answer.read().decode().splitlines() if line[0] != "#" and "{" not in line]
    return {name: float(value) for name, value in lines}


def measured(count: int, seconds: int, words: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        process, at = served(Path(folder), count, words)
        others = os.sched_getaffinity(0) - {max(os.sched_getaffinity(0))}
        os.sched_setaffinity(0, others or os.sched_getaffinity(0))
        try:
            turn = waited_for_a_turn(process.pid)
            loads, before = [os.getloadavg()[0]], counts(at)["process_cpu_seconds_total"]
            said = asyncio.run(all_streams(at, count, seconds))
            after, turn = counts(at), waited_for_a_turn(process.pid) - turn
            loads.append(os.getloadavg()[0])
        finally:
            process.terminate()
            process.wait(20)
    service, client = np.array([pair for latencies, _ in said for pair in latencies]).T * 1000
    return {
        "streams": count,
        "seconds": seconds,
        "events": len(service),
        "service_ms": percentiles(service),
        "client_ms": percentiles(client),
        "dropped": sum(last["dropped"] for _, last in said),
        "missed": sum(last["missed"] for _, last in said),
        "waited_seconds": round(sum(last["waited_seconds"] for _, last in said), 3),
        "segments_per_batch": round(after["edge_lupi_encoded_total"] / after["edge_lupi_batches_total"], 2),
        "cpu_share_of_a_core": round((after["process_cpu_seconds_total"] - before) / seconds, 3),
        "listener_waited_for_the_core_seconds": round(turn, 2),
        "load": [round(load, 1) for load in loads],
        "cpu": environment()["cpu"],
    }


def percentiles(values: np.ndarray) -> dict[str, float]:
    return {f"p{percent}": round(float(np.percentile(values, percent)), 1) for percent in (50, 99)} | {
        "most": round(float(values.max()), 1)
    }


def table(report: dict[str, Any], command: str) -> str:
    rows = [
        f"| {name}, ms | {report[key]['p50']} | {report[key]['p99']} | {report[key]['most']} |"
        for name, key in (
            ("service: block with the last sample to event", "service_ms"),
            ("client: due to event", "client_ms"),
        )
    ]
    figures = "; ".join(
        f"{name} {report[key]}"
        for name, key in (
            ("samples dropped", "dropped"),
            ("lines missed", "missed"),
            ("seconds waited", "waited_seconds"),
            ("segments a round", "segments_per_batch"),
            ("share of the core", "cpu_share_of_a_core"),
            ("seconds for which the listener waited while others had the core", "listener_waited_for_the_core_seconds"),
            ("load of the machine before and after", "load"),
        )
    )
    head = f"{report['streams']} WebSocket streams of real speech at real pace, {report['seconds']} s, service on one core of {report['cpu']}; {report['events']} events."
    return "\n".join(
        [
            f"    {command}",
            "",
            head,
            "",
            "| latency | p50 | p99 | most |",
            "|---|---|---|---|",
            *rows,
            "",
            f"{figures}.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--task", default="speaker")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    report = measured(arguments.streams, arguments.seconds, ["--task", arguments.task])
    command = f"python benchmarks/serve_streams.py --streams {arguments.streams} --seconds {arguments.seconds} --task {arguments.task}"
    text = table(report, command)
    print(text)
    if arguments.out:
        arguments.out.write_text(text)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
