"""How many streams does one core serve in real time? Ramps their number up until a hop in a hundred comes too late.

python benchmarks/streams.py [BUNDLE] --seconds 20 [--gate energy]

Every stream is real speech in blocks of 0.1 s that become due by the clock, the streams' hops spread over it. In time is
a p99 of the delay, from the moment a segment's last sample is due to its event, under one hop.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from endurance import resident_mb
from sounds import Samples, clips

from edge_lupi.bundle.bundle import shipped_bundle
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.runtime.sources.block import Block

TICK_SECONDS = 0.1
TICK_SAMPLES = round(TICK_SECONDS * SAMPLE_RATE_HZ)
WARM_UP_SECONDS = 2.0
STEP = 1.25
FINE = 1.05


@dataclass(frozen=True)
class Run:
    streams: int
    p50_ms: float
    p99_ms: float
    busy: float
    resident_mb: float
    in_time: bool


def due(speech: Samples, streams: int, seconds: float, spread: int) -> Iterator[Block]:
    """At every tick a block of every stream that has begun; stream n begins n % spread ticks late."""
    ticks, began = round(seconds / TICK_SECONDS), time.perf_counter()
    starts = np.random.default_rng(0).integers(len(speech) // TICK_SAMPLES - ticks, size=streams) * TICK_SAMPLES
    names = [str(number) for number in range(streams)]
    for tick in range(ticks):
        at = began + (tick + 1) * TICK_SECONDS
        time.sleep(max(0.0, at - time.perf_counter()))
        begun = [number for number in range(streams) if number % spread <= tick]
        for number in begun:
            begin = starts[number] + tick * TICK_SAMPLES
            samples = speech[begin : begin + TICK_SAMPLES]
            yield Block(samples, at, stream=names[number], more=number != begun[-1])


def serve(listener: Listener, speech: Samples, streams: int, seconds: float) -> Run:
    spread = round(listener.segmentation.hop_seconds / TICK_SECONDS)
    cpu = time.process_time()
    events = listener.listen(due(speech, streams, seconds, spread))
    delays = [event.latency_ms for event in events if event.time > WARM_UP_SECONDS]
    busy = (time.process_time() - cpu) / seconds
    p50, p99 = np.percentile(delays, [50, 99])
    in_time = bool(p99 < listener.segmentation.hop_seconds * 1000)
    return Run(streams, float(p50), float(p99), busy, resident_mb(), in_time)


def ramp(listener: Listener, speech: Samples, seconds: float, first: int) -> list[Run]:
    """Steps of a quarter until it is too much, then of a twentieth from the last that was not."""
    runs, streams, step = [serve(listener, speech, 1, seconds)], first, STEP
    while True:
        runs.append(run := serve(listener, speech, streams, seconds))
        print(
            f"{run.streams:5} streams  p50 {run.p50_ms:7.1f}  p99 {run.p99_ms:8.1f} ms  busy {run.busy:.2f}  {run.resident_mb:.0f} MB",
            flush=True,
        )
        if not run.in_time and step == FINE:
            return runs
        if not run.in_time:
            good = max(other.streams for other in runs if other.in_time)
            streams, step = good, FINE
        streams = max(streams + 1, round(streams * step))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?", default=None)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--gate", default="voice")
    parser.add_argument("--first", type=int, default=50)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    speech = np.concatenate(clips(40))
    listener = Listener(arguments.bundle or shipped_bundle("speaker"), gallery=None, gate=arguments.gate)
    runs = ramp(listener, speech, arguments.seconds, arguments.first)
    best = max((run for run in runs if run.in_time), key=lambda run: run.streams)
    per_stream_kb = 1000 * (best.resident_mb - runs[0].resident_mb) / max(1, best.streams - 1)
    print(f"{best.streams} streams in time, gate {arguments.gate}, {per_stream_kb:.0f} kB a stream")
    found = {
        "bundle": listener.student.bundle.path.name,
        "gate": arguments.gate,
        "hop_seconds": listener.segmentation.hop_seconds,
        "streams": best.streams,
        "kb_per_stream": per_stream_kb,
        "runs": [asdict(run) for run in runs],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
