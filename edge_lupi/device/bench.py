"""Time per hop of a bundle on this device, as a stream runs it: front end, speech gate, encoder, aggregator, one thread.

Several bundles are measured together, as one listener has them, and in the same hops each alone. Deterministic noise drives it, loud enough that the gate looks at all of it: no graph here branches on what it hears, so
speech takes as long. Silence costs the front end alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.device.processor import environment
from edge_lupi.errors import InputError
from edge_lupi.frames import CONTEXT_SAMPLES, HOP_SAMPLES, MELS
from edge_lupi.runtime.ears import Ear, ears_of
from edge_lupi.runtime.gates.silero import make_gate
from edge_lupi.runtime.latency import latency

__all__ = ["HopReport", "Spread", "measure"]

PARTS = ("front_end", "gate", "encoder", "aggregator", "hop")
WARM_UP_HOPS = 20


@dataclass(frozen=True)
class Spread:
    """Percentiles of a time in milliseconds."""

    p50_ms: float
    p90_ms: float
    p99_ms: float


@dataclass(frozen=True)
class HopReport:
    """`parts` by name (`hop` is their sum); `real_time_factor` is time spent per time heard.

    `apart`: of several bundles, each one's hop alone.
    """

    bundle: str
    hops: int
    hop_seconds: float
    parts: dict[str, Spread]
    real_time_factor: float
    environment: dict[str, Any]
    apart: dict[str, Spread] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    def text(self) -> str:
        """A table for people."""
        alone = {f"{name} alone": spread for name, spread in self.apart.items()}
        width = max(11, *(len(name) + 2 for name in (*self.parts, *alone)))
        rows = [
            f"{name:<{width}}{s.p50_ms:9.3f}{s.p90_ms:9.3f}{s.p99_ms:9.3f}" for name, s in (self.parts | alone).items()
        ]
        where = "  ".join(f"{key} {value}" for key, value in self.environment.items())
        head = f"{self.bundle}: {self.hops} hops of {self.hop_seconds} s on one thread"
        factor = f"real-time factor {self.real_time_factor:.5f}: one thread could follow {1 / self.real_time_factor:.0f} streams"
        if alone:
            apart = sum(spread.p50_ms for spread in alone.values())
            rows.append(f"together {self.parts['hop'].p50_ms / apart:.0%} of {apart:.3f} ms, the sum of each alone")
        return "\n".join([head, f"{'ms':<{width}}{'p50':>9}{'p90':>9}{'p99':>9}", *rows, factor, where])


class _Course:
    """What one listener does in a hop, timed part by part."""

    def __init__(self, ears: Sequence[Ear], hop_frames: int) -> None:
        self._ears = ears
        self._hop_frames = hop_frames
        self._gate = make_gate()
        self._frames = np.zeros((MELS, max(ear.segmentation.frames for ear in ears)), np.float32)
        branches = [branch for ear in ears for branch in ear.student.branches.values()]
        self._states = {branch.task.name: branch.initial_state() for branch in branches}
        several = [f" {'+'.join(task.name for task in ear.tasks)}" for ear in ears] if len(ears) > 1 else [""]
        self.parts = [*PARTS[:2], *(f"{part}{name}" for name in several for part in PARTS[2:4])]

    def hop(self, samples: NDArray[np.float32]) -> list[float]:
        """Seconds of each of `parts`, for samples [240 + 160 * F]."""
        times = [time.perf_counter()]
        log_mels = dict.fromkeys(ear.log_mel for ear in self._ears)
        fresh, *_ = [log_mel(samples) for log_mel in log_mels]  # the gate hears the first
        self._frames = np.concatenate([self._frames[:, self._hop_frames :], fresh], 1)
        times.append(time.perf_counter())
        self._gate.push(fresh, samples[CONTEXT_SAMPLES:])
        times.append(time.perf_counter())
        for ear in self._ears:
            segment = self._frames[None, :, None, -ear.segmentation.frames :]
            for _ in range(self._hop_frames // ear.segmentation.hop_frames):
                embedding = ear.student.encode(segment)
            times.append(time.perf_counter())
            for name, branch in ear.student.branches.items():
                for _ in range(self._hop_frames // ear.segmentation.hop_frames):
                    self._states[name] = branch.step(embedding, self._states[name]).state
            times.append(time.perf_counter())
        result: list[float] = np.diff(times).tolist()
        return result


def measure(bundles: Bundle | Sequence[Bundle], tasks: Sequence[str] | None, seconds: float) -> HopReport:
    """Push `seconds` of sound through the bundles, hop by hop, as fast as it goes. Without tasks: the first of each."""
    several = [bundles] if isinstance(bundles, Bundle) else list(bundles)
    ears = ears_of(several, tasks or [bundle.task().name for bundle in several], latency("normal"))
    cut = max((ear.segmentation for ear in ears), key=lambda cut: cut.hop_frames)
    if any(cut.hop_frames % ear.segmentation.hop_frames for ear in ears):
        each = ", ".join(f"{ear.segmentation.hop_seconds} s" for ear in ears)
        raise InputError(f"expected hops that are whole multiples of each other, got {each}: measure one at a time")
    hops = max(1, round(seconds / cut.hop_seconds))
    random = np.random.default_rng(0)
    together = _Course(ears, cut.hop_frames)
    alone = [_Course([ear], cut.hop_frames) for ear in ears] if len(ears) > 1 else []
    taken = np.zeros((hops, len(together.parts)))
    apart = np.zeros((hops, len(alone)))
    for hop in range(-WARM_UP_HOPS, hops):
        samples = (random.standard_normal(CONTEXT_SAMPLES + cut.hop_frames * HOP_SAMPLES) * 0.05).astype(np.float32)
        times, sums = together.hop(samples), [sum(course.hop(samples)) for course in alone]
        if hop >= 0:
            taken[hop], apart[hop] = times, sums
    return HopReport(
        " + ".join(bundle.path.name for bundle in several),
        hops,
        cut.hop_seconds,
        _spreads([*together.parts, "hop"], np.column_stack([taken, taken.sum(1)])),
        float(taken.sum() / (hops * cut.hop_seconds)),
        environment() | {"runs_on": ", ".join(dict.fromkeys(ear.student.runs_on for ear in ears))},
        _spreads([bundle.path.name for bundle in several], apart) if alone else {},
    )


def _spreads(names: Sequence[str], seconds: NDArray[np.float64]) -> dict[str, Spread]:
    percentiles = np.percentile(seconds * 1e3, [50, 90, 99], axis=0)
    return {name: Spread(*percentiles[:, i].tolist()) for i, name in enumerate(names)}
