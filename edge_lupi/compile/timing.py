"""Latency of engines side by side: wall and thread time of every run, and how many times as fast one is as another.

Runs of all engines come in turn, so that a change of the machine's speed meets all alike, and the ratio of two is taken
turn by turn. Thread time is what the processor spent on this thread: where it is less than the time on the wall, others
had the processor, or the engine waited for a GPU.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_lupi.metrics.bootstrap import Interval, bootstrap
from edge_lupi.runtime.engines.engine import Engine

__all__ = ["Times", "speedup", "take_turns", "taken"]

Array = NDArray[np.float32]
Floats = NDArray[np.float64]
WARM_UP = 10
FEWEST_TURNS, MOST_TURNS = 100, 1000
SECONDS = 5.0  # after which the fewest turns are enough
STRETCHES = 20  # of turns, paired: what is beside each other met the same machine


@dataclass(frozen=True)
class Times:
    """Milliseconds of every run [R], on the wall's clock and of this thread."""

    wall_ms: Floats
    thread_ms: Floats


def take_turns(engines: Mapping[str, Engine], segments: Array) -> dict[str, Times]:
    """Run each engine on one segment [1, 80, 1, F] at a time, in turn, at least 100 times."""
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
    began = time.perf_counter()
    for turn in range(WARM_UP + MOST_TURNS):
        if turn >= WARM_UP + FEWEST_TURNS and time.perf_counter() - began > SECONDS:
            break
        segment = segments[turn % len(segments)][None]
        for name, engine in engines.items():
            row = taken(engine, segment)
            if turn >= WARM_UP:
                rows[name].append(row)
    return {name: Times(*np.array(row).T) for name, row in rows.items()}


def taken(engine: Engine, segments: Array) -> tuple[float, float]:
    """Milliseconds of one run on segments [B, 80, 1, F]: on the wall's clock, and of this thread."""
    thread, wall = time.thread_time(), time.perf_counter()
    engine.run({"log_mel": segments})
    return 1e3 * (time.perf_counter() - wall), 1e3 * (time.thread_time() - thread)


def speedup(slow: Floats, fast: Floats) -> Interval:
    """How many times as fast `fast` is, of runs [R] that came in turn: the median over stretches of turns, 95 % interval.

    In each stretch medians are held against each other: of single runs on a busy machine half are late, and the median of
    their ratios is then far from what either does when it is not disturbed.
    """
    parts = np.array_split(np.arange(len(slow)), min(STRETCHES, len(slow)))
    ratios = np.array([np.median(slow[part]) / max(float(np.median(fast[part])), 1e-9) for part in parts])
    return bootstrap(lambda chosen: float(np.median(ratios[chosen])), n=len(ratios))
