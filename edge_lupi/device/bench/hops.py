"""Time per hop of a listener on this device, by part and as a whole, in one thread. Bundles and seconds in, a HopReport out.

It is `Listening` that is timed: front end, speech gate, encoder, aggregator, trackers, and as `listener` all of it, with segments,
levels and events, in blocks of a tenth of a second as `listen` gets them. `burst` pushes them as fast as it goes, `paced` when they would come from a
microphone, so that the processor's clock and caches rest between hops as they will. Several bundles are measured together, as
one listener has them, and in a burst in the same hops each alone.

Without sound of the caller's, deterministic noise drives it, loud enough that the gate looks at all of it, and every
segment counts as speech: no graph here branches on what it hears, so speech takes as long. Silence costs front end and gate alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.device.bench.clock import Times
from edge_lupi.device.bench.energy import Energy, Meter
from edge_lupi.device.bench.feed import noise_hops, recorded_hops
from edge_lupi.device.bench.percentiles import QUANTILES, Percentiles, least_count
from edge_lupi.device.bench.timed import TimedRun
from edge_lupi.errors import InputError
from edge_lupi.frames import SAMPLE_RATE_HZ, Segmentation
from edge_lupi.runtime.sources.block import Block

__all__ = ["HopReport", "PartTime", "measure"]

WARM_UP_HOPS = 20
WAITED = 0.1  # of the wall time: above it the machine is busy


@dataclass(frozen=True)
class PartTime:
    """What a part takes per hop: on the wall's clock, and of its thread alone."""

    wall: Percentiles
    thread: Percentiles

    def plain(self) -> dict[str, Any]:
        """As JSON has it: the wall's figures, and under `thread` the thread's."""
        return {**self.wall.plain(), "thread": self.thread.plain()}


@dataclass(frozen=True)
class HopReport:
    """`parts` by name: `hop` is the sum of those before it, `listener` the whole. `real_time_factor` is the listener's time per
    time of sound. `waited` is the share of it in which its thread did not run. `apart`: of several bundles, each one's listener
    alone. `times_ms` [hops, 2] are the listener's wall and thread times as they came.
    """

    bundle: str
    mode: str
    hops: int
    hop_seconds: float
    parts: dict[str, PartTime]
    real_time_factor: float
    waited: float
    runs_on: str
    times_ms: Times
    apart: dict[str, PartTime] = field(default_factory=dict)
    energy: Energy | None = None

    @property
    def is_busy(self) -> bool:
        """Whether other programs kept the thread from the processor. On a GPU it waits for that, too, which says nothing."""
        return self.waited > WAITED and "GPU" not in self.runs_on

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        parts = {name: part.plain() for name, part in self.parts.items()}
        return {
            "bundle": self.bundle,
            "mode": self.mode,
            "hops": self.hops,
            "hop_seconds": self.hop_seconds,
            "parts": parts,
            "listener": parts["listener"],
            "real_time_factor": self.real_time_factor,
            "waited": self.waited,
            "busy": self.is_busy,
            "apart": {name: part.plain() for name, part in self.apart.items()},
            "energy": self.energy.plain() if self.energy else None,
        }

    def text(self) -> str:
        """A table for people."""
        shown = self.parts | {f"{name} alone": part for name, part in self.apart.items()}
        width = max(11, *(len(name) + 2 for name in shown))
        columns = "".join(f"{name:>9}" for name in (*QUANTILES, "max"))
        lines = [
            f"{self.bundle}: {self.hops} hops of {self.hop_seconds} s on one thread, {self.mode}",
            f"{'ms':<{width}}{columns}   of its thread alone:{columns}",
            *(f"{name:<{width}}{part.wall.row()}{'':24}{part.thread.row()}" for name, part in shown.items()),
        ]
        lines += [said for said in (self._too_few(), self._busy(), self._together()) if said]
        if self.energy:
            lines.append(self.energy.text())
        lines.append(
            f"real-time factor {self.real_time_factor:.5f}: one thread could follow {1 / self.real_time_factor:.0f} streams"
        )
        return "\n".join(lines)

    def _too_few(self) -> str:
        short = {name: least_count(q) for name, q in QUANTILES.items() if self.hops < least_count(q)}
        each = ", ".join(f"{name} needs {count}" for name, count in short.items())
        seconds = ceil(max(short.values(), default=0) * self.hop_seconds)
        return f"too few hops: {each} for a 95 % interval, these are {self.hops}; {seconds} s would do" if short else ""

    def _busy(self) -> str:
        if not self.is_busy:
            return ""
        wall, thread = (self.times_ms.mean(axis=0)).tolist()
        return (
            f"the machine is busy: a hop took {wall:.2f} ms for {thread:.2f} ms of work, {self.waited:.0%} of it waiting for the "
            "processor; go by the thread's own time, or measure again when it is quiet"
        )

    def _together(self) -> str:
        each = [part.wall.p50_ms for part in self.apart.values()]
        whole = self.parts["listener"].wall.p50_ms
        known = [ms for ms in each if ms is not None]
        if not known or whole is None:
            return ""
        return f"together {whole / sum(known):.0%} of {sum(known):.3f} ms, the sum of each alone"


def measure(
    bundles: Bundle | Sequence[Bundle],
    tasks: Sequence[str] | None,
    seconds: float,
    *,
    paced: bool = False,
    sound: Path | None = None,
    gate: str = "voice",
    meter: Meter | None = None,
) -> HopReport:
    """Push `seconds` of sound through the bundles, hop by hop. Without tasks: the first of each.

    `sound` is a file that is heard again and again in place of noise: then the gate decides what is speech, and reading it
    is a part, `source`.
    """
    several = [bundles] if isinstance(bundles, Bundle) else list(bundles)
    names = list(tasks or [bundle.task().name for bundle in several])
    together = TimedRun(several, names, gate, is_open=sound is None, reads=sound is not None)
    hop_samples = _hop_samples([ear.segmentation for ear in together.ears])
    hop_seconds = hop_samples / SAMPLE_RATE_HZ
    hops = max(1, round(seconds / hop_seconds))
    ears = together.ears if len(together.ears) > 1 and not paced else []
    alone = [TimedRun([e.bundle], [t.name for t in e.tasks], gate, is_open=sound is None) for e in ears]
    heard = noise_hops(hop_samples) if sound is None else recorded_hops(sound, hop_samples)
    taken, apart = np.zeros((hops, len(together.parts), 2)), np.zeros((hops, len(alone), 2))
    for _ in range(WARM_UP_HOPS):
        _, blocks = together.hop(next(heard))
        for run in alone:
            run.hop(iter(blocks))
    meter, wait = meter or Meter(), _pace() if paced else _at_once
    with meter.running():
        for hop in range(hops):
            taken[hop], blocks = together.hop(next(heard), wait)
            for place, run in enumerate(alone):
                apart[hop, place] = run.hop(iter(blocks))[0][-1]
    wall, thread = taken[:, -1].sum(axis=0).tolist()
    return HopReport(
        " + ".join(bundle.path.name for bundle in several),
        "paced" if paced else "burst",
        hops,
        hop_seconds,
        _part_times(together.parts, taken),
        wall / (hops * hop_seconds),
        max(0.0, 1 - thread / wall),
        ", ".join(dict.fromkeys(ear.student.runs_on for ear in together.ears)),
        taken[:, -1] * 1e3,
        _part_times([bundle.path.name for bundle in several], apart) if alone else {},
        meter.energy(hops),
    )


def _hop_samples(cuts: Sequence[Segmentation]) -> int:
    """The longest hop, in samples. Raises InputError where the others do not fall together with it."""
    longest = max(cut.hop_samples for cut in cuts)
    if any(longest % cut.hop_samples for cut in cuts):
        each = ", ".join(f"{cut.hop_seconds} s" for cut in cuts)
        raise InputError(f"expected hops that are whole multiples of each other, got {each}: measure one at a time")
    return longest


def _at_once(block: Block) -> None:
    """Waits for nothing."""


def _pace() -> Callable[[Block], None]:
    """Waits until a microphone would have given the block."""
    began, samples = time.perf_counter(), 0

    def wait(block: Block) -> None:
        nonlocal samples
        samples += len(block.samples)
        time.sleep(max(0.0, began + samples / SAMPLE_RATE_HZ - time.perf_counter()))

    return wait


def _part_times(names: Sequence[str], seconds: Times) -> dict[str, PartTime]:
    """Of seconds [hops, parts, 2]."""
    wall, thread = seconds[..., 0] * 1e3, seconds[..., 1] * 1e3
    return {n: PartTime(Percentiles.of(wall[:, i]), Percentiles.of(thread[:, i])) for i, n in enumerate(names)}
