"""Does listening for a day grow or slow down? Speech, silence and noise in turn, made block by block, as fast as it goes.

python benchmarks/endurance.py --hours 24

Time per hop is what everything takes for half a second of stream, in the thread's own time; medians of the hops in which
somebody speaks. The machine's own pace drifts over minutes, so every tenth hop is followed by a yardstick, the student
alone on one fixed segment, and the last hour is compared with the first in yardsticks.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sounds import Samples, clips, music, white

from edge_lupi.bundle.bundle import shipped_bundle
from edge_lupi.frames import CONTEXT_SAMPLES, SAMPLE_RATE_HZ
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.runtime.sources.block import Block

BLOCK_SAMPLES = SAMPLE_RATE_HZ // 10
CLIPS = 20
FIRST_SECONDS = 600.0
YARD_HOPS = 10
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES / 1e6


@dataclass(frozen=True, eq=False)
class Sounds:
    """All that is heard, again and again; made before the watch begins, so that only listening can grow."""

    speech: list[Samples]
    silence: Samples
    disturbances: list[Samples]


def make_sounds() -> Sounds:
    disturbances = [sound for n in range(3) for sound in (white(n, 30.0, -40.0), music(16 * n, 30.0, -35.0))]
    return Sounds(clips(CLIPS), white(9, 30.0, -70.0), disturbances)


def turns(sounds: Sounds) -> Iterator[Samples]:
    """Two readers, half a minute of silence, half a minute of noise or music; for ever."""
    draw = np.random.default_rng(0)
    for disturbance in itertools.cycle(sounds.disturbances):
        for _ in range(2):
            yield sounds.speech[int(draw.integers(len(sounds.speech)))]
        yield sounds.silence
        yield disturbance


def blocks(sounds: Sounds) -> Iterator[Samples]:
    for sound in turns(sounds):
        for start in range(0, len(sound) - BLOCK_SAMPLES + 1, BLOCK_SAMPLES):
            yield sound[start : start + BLOCK_SAMPLES]


class Watched:
    """The stream, and what is seen between its blocks."""

    def __init__(self, listener: Listener, seconds: float) -> None:
        self._listener, self._seconds = listener, seconds
        self._sounds = make_sounds()
        hops = round(seconds / listener.segmentation.hop_seconds) + 1
        self.hop_ms = np.full(hops, -1.0)  # filled now, so that it does not grow while it is watched
        self.yard_ms = np.full(hops, -1.0)
        self._fixed = self._sounds.speech[0][: CONTEXT_SAMPLES + listener.segmentation.samples]
        self.resident_mb: dict[float, float] = {}

    def __iter__(self) -> Iterator[Block]:
        hop_blocks = round(self._listener.segmentation.hop_seconds * SAMPLE_RATE_HZ / BLOCK_SAMPLES)
        marks = [FIRST_SECONDS, *np.arange(3600.0, self._seconds, 3600.0)]
        spent, encoded = 0.0, 0
        for index, samples in enumerate(blocks(self._sounds), 1):
            began = time.thread_time()
            yield Block(samples, time.perf_counter())
            spent += time.thread_time() - began
            if index % hop_blocks == 0:
                now = self._listener.statistics.encoded
                self.hop_ms[index // hop_blocks] = 1000 * spent if now > encoded else -1.0
                spent, encoded = 0.0, now
                if index // hop_blocks % YARD_HOPS == 0:
                    self.yard_ms[index // hop_blocks] = self._yardstick_ms()
            seconds = index * BLOCK_SAMPLES / SAMPLE_RATE_HZ
            if marks and seconds >= marks[0]:
                self.resident_mb[marks.pop(0)] = resident_mb()
            if seconds >= self._seconds:
                return

    def _yardstick_ms(self) -> float:
        began = time.thread_time()
        self._listener.student.encode(self._listener.student.log_mel(self._fixed)[None, :, None, :])
        return 1000 * (time.thread_time() - began)

    def medians_ms(self, begin_seconds: float, end_seconds: float) -> tuple[float, float]:
        """Of the hops and of the yardstick in this time."""
        hop = self._listener.segmentation.hop_seconds
        parts = (ms[round(begin_seconds / hop) : round(end_seconds / hop)] for ms in (self.hop_ms, self.yard_ms))
        hop_ms, yard_ms = (float(np.median(part[part >= 0])) for part in parts)
        return hop_ms, yard_ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=None)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--gate", default="voice")
    arguments = parser.parse_args()
    listener = Listener(arguments.bundle or shipped_bundle("speaker"), gallery=None, gate=arguments.gate)
    seconds = arguments.hours * 3600
    watched, events, began = Watched(listener, seconds), 0, time.perf_counter()
    for _event in listener.listen(watched):
        events += 1
    wall, last = time.perf_counter() - began, resident_mb()
    hour = min(3600.0, seconds / 2)
    first_ms, first_yard_ms = watched.medians_ms(0, hour)
    last_ms, last_yard_ms = watched.medians_ms(seconds - hour, seconds)
    change = (last_ms / last_yard_ms) / (first_ms / first_yard_ms) - 1
    early = watched.resident_mb.get(FIRST_SECONDS, last)
    print(f"{arguments.hours} h in {wall:.0f} s, {events} events, {listener.statistics.encoded} segments with speech")
    print(f"resident {early:.1f} MB after ten minutes, {last:.1f} MB at the end: {last - early:+.2f} MB")
    print(
        f"per hop {first_ms:.3f} ms in the first hour, {last_ms:.3f} ms in the last; yardstick {first_yard_ms:.3f} and "
        f"{last_yard_ms:.3f} ms: {100 * change:+.1f} % in yardsticks"
    )
    found = {
        "hours": arguments.hours,
        "wall_seconds": wall,
        "events": events,
        "encoded": listener.statistics.encoded,
        "resident_first_mb": early,
        "resident_last_mb": last,
        "resident_mb": watched.resident_mb,
        "hop_first_ms": first_ms,
        "hop_last_ms": last_ms,
        "yardstick_first_ms": first_yard_ms,
        "yardstick_last_ms": last_yard_ms,
        "change_in_yardsticks": change,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
