"""How many streams one thread follows in time, found by trial. Bundles and sound in, a StreamsReport out.

Every stream gets blocks of a tenth of a second that become due by the clock, the streams' hops spread over it. In time is
a p99 of the delay, from the moment a block is due to the event that it completes, under one hop.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lupi.errors import InputError
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.progress import progress
from edge_lupi.runtime.gates.gate import Gate
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.runtime.sources.block import Block

__all__ = ["StreamsReport", "Trial", "streams_in_time"]

TICK_SECONDS = 0.1
TICK_SAMPLES = round(TICK_SECONDS * SAMPLE_RATE_HZ)
WARM_UP_SECONDS = 2.0
SHORTEST_SECONDS = 4.0  # of a trial: speakers that nobody knows are told after two
FINE = 1.05  # in time and too many lie so close together at the end
FULL = 0.75  # of a core, below which it is not this thread that makes streams late
Samples = NDArray[np.float32]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trial:
    """So many streams at once: delays of their events in ms, share of one core, memory of the process, and whether in time."""

    streams: int
    p50_ms: float
    p99_ms: float
    events: int
    core_share: float
    resident_mb: float
    in_time: bool

    def text(self) -> str:
        """For people."""
        return (
            f"{self.streams:5} streams  p50 {self.p50_ms:7.1f}  p99 {self.p99_ms:8.1f} ms of {self.events} events  "
            f"{self.core_share:.2f} of a core  {self.resident_mb:.0f} MB  {'in time' if self.in_time else 'too many'}"
        )


@dataclass(frozen=True)
class StreamsReport:
    """The most streams that were in time (0: not even one), memory that each adds, and all trials."""

    in_time: int
    kb_each: float
    hop_seconds: float
    trials: list[Trial]

    @property
    def is_busy(self) -> bool:
        """Whether streams were late though the thread had much less than a core, which others then had."""
        return any(not trial.in_time and trial.core_share < FULL for trial in self.trials)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "busy": self.is_busy}

    def text(self) -> str:
        """For people."""
        rows = [trial.text() for trial in self.trials]
        if self.is_busy:
            least = min(trial.core_share for trial in self.trials if not trial.in_time)
            rows.append(
                f"the machine is busy: streams were late while this thread had {least:.0%} of a core; measure again when it is quiet"
            )
        return "\n".join([*rows, f"{self.in_time} streams in time on one thread, {self.kb_each:.0f} kB each"])


def streams_in_time(
    listener: Listener,
    sound: Samples,
    seconds: float,
    *,
    gate: Callable[[], Gate] | None = None,
    first: int = 16,
) -> StreamsReport:
    """Double or halve from `first` until the limit lies between two trials of `seconds` each, then halve what is between.

    `sound` float32 [n] at 16 kHz is what streams hear, each from a place of its own.
    """
    ticks = round(seconds / TICK_SECONDS)
    if seconds < SHORTEST_SECONDS or len(sound) // TICK_SAMPLES <= ticks:
        raise InputError(
            f"expected trials of {SHORTEST_SECONDS:g} s or more and sound that is longer, got {seconds:g} s "
            f"and {len(sound) / SAMPLE_RATE_HZ:g} s of sound: choose seconds between them",
            options=("seconds",),
        )
    trials = list[Trial]()

    def is_in_time(streams: int) -> bool:
        trials.append(trial := _trial(listener, sound, ticks, streams, gate))
        progress(_log, trial.text(), last=False, often=True)
        return trial.in_time

    best = _search(is_in_time, first) if is_in_time(1) else 0
    one, most = trials[0], max((t for t in trials if t.in_time), key=lambda t: t.streams, default=trials[0])
    each = 1000 * (most.resident_mb - one.resident_mb) / max(1, most.streams - 1)
    return StreamsReport(best, max(0.0, each), listener.segmentation.hop_seconds, trials)


def _search(is_in_time: Callable[[int], bool], first: int) -> int:
    """The most that are in time, within five per cent; one is known to be."""
    good, bad, streams = 1, 0, max(2, first)
    while not bad or (bad > good + 1 and bad > good * FINE):
        if is_in_time(streams):
            good = streams
        else:
            bad = streams
        streams = (good + bad) // 2 if bad else 2 * good
    return good


def _trial(listener: Listener, sound: Samples, ticks: int, streams: int, gate: Callable[[], Gate] | None) -> Trial:
    hop_seconds = max(cut.hop_seconds for cut in listener.segmentations.values())
    blocks = partial(_due, sound, streams, ticks, ceil(hop_seconds / TICK_SECONDS))
    cpu = time.thread_time()
    events = listener.begin(gate).listen(blocks())
    delays = [event.latency_ms for event in events if event.time > WARM_UP_SECONDS]
    core_share = (time.thread_time() - cpu) / (ticks * TICK_SECONDS)
    if not delays:
        raise InputError(
            "expected events about the sound, got none: give one in which somebody speaks",
            options=("input",),
        )
    p50, p99 = np.percentile(delays, [50, 99]).tolist()
    return Trial(streams, p50, p99, len(delays), core_share, _resident_mb(), p99 < 1000 * hop_seconds)


def _due(sound: Samples, streams: int, ticks: int, spread: int) -> Iterator[Block]:
    """At every tick a block of every stream that has begun; stream n begins n % spread ticks late."""
    starts = np.random.default_rng(0).integers(len(sound) // TICK_SAMPLES - ticks, size=streams) * TICK_SAMPLES
    names = [str(number) for number in range(streams)]
    began = time.perf_counter()
    for tick in range(ticks):
        at = began + (tick + 1) * TICK_SECONDS
        time.sleep(max(0.0, at - time.perf_counter()))
        begun = [number for number in range(streams) if number % spread <= tick]
        for number in begun:
            begin = starts[number] + tick * TICK_SAMPLES
            samples = sound[begin : begin + TICK_SAMPLES]
            yield Block(samples, at, stream=names[number], more=number != begun[-1])


def _resident_mb() -> float:
    """Of this process, now; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
