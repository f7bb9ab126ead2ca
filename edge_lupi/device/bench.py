"""Time per hop of a listener on this device, by part and as a whole, in one thread. Bundles and seconds in, a HopReport out.

It is `Listening` that is timed: front end, speech gate, encoder, aggregator, and as `listener` all of it, with segments, levels,
trackers and events. Several bundles are measured together, as one listener has them, and in the same hops each alone.
Deterministic noise drives it, loud enough that the gate looks at all of it, and every segment counts as speech: no graph here
branches on what it hears, so speech takes as long. Silence costs front end and gate alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.device.processor import environment
from edge_lupi.errors import InputError
from edge_lupi.frames import SAMPLE_RATE_HZ, Segmentation
from edge_lupi.runtime.gates.make import make_gate
from edge_lupi.runtime.listening.ears import Ear
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.runtime.segments import LogMel
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.trackers.tracker import Aggregator

__all__ = ["HopReport", "Spread", "measure"]

PARTS = ("front_end", "gate", "encoder", "aggregator", "hop", "listener")
WARM_UP_HOPS = 20
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Spread:
    """Percentiles of a time in milliseconds."""

    p50_ms: float
    p90_ms: float
    p99_ms: float


@dataclass(frozen=True)
class HopReport:
    """`parts` by name: `hop` is the sum of those before it, `listener` the whole. `real_time_factor` is the listener's time per
    time of sound. `apart`: of several bundles, each one's listener alone.
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
            rows.append(
                f"together {self.parts['listener'].p50_ms / apart:.0%} of {apart:.3f} ms, the sum of each alone"
            )
        return "\n".join([head, f"{'ms':<{width}}{'p50':>9}{'p90':>9}{'p99':>9}", *rows, factor, where])


class _Clock:
    """Seconds by part since `start`; what is timed gives what it gave before."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def start(self) -> None:
        """From zero."""
        self.seconds = dict.fromkeys(self.seconds, 0.0)

    def timed(self, part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same work, its time added to that part's."""
        self.seconds.setdefault(part, 0.0)

        def done(*given: Any) -> Any:
            began = time.perf_counter()
            result = work(*given)
            self.seconds[part] += time.perf_counter() - began
            return result

        return done


class _OpenGate:
    """The voice gate, timed; whatever it says, the segment counts as speech."""

    def __init__(self, clock: _Clock) -> None:
        gate = make_gate()
        self.delay_seconds, self.reset = gate.delay_seconds, gate.reset
        self._judge = clock.timed("gate", gate.push)

    def push(self, log_mel: Array, samples: Array) -> NDArray[np.bool_]:
        """log-mel [80, F] and samples [160 * F] -> True for each frame."""
        return np.ones_like(self._judge(log_mel, samples))


class _TimedBranch:
    """An aggregator, timed."""

    def __init__(self, clock: _Clock, part: str, branch: Aggregator) -> None:
        self.initial_state, self.step = branch.initial_state, clock.timed(part, branch.step)


class _Run:
    """A listener of its own over the noise, as a stream runs it, timed by part and as a whole."""

    def __init__(self, bundles: Sequence[Bundle], tasks: Sequence[str]) -> None:
        self._clock = _Clock()
        listener = Listener(bundles, tasks, gallery=None)
        self.ears = listener.ears
        log_mels = {ear.log_mel: self._clock.timed("front_end", ear.log_mel) for ear in listener.ears}
        self._clock.seconds["gate"] = 0.0
        listener.ears = [self._timed(ear, log_mels[ear.log_mel], len(listener.ears)) for ear in listener.ears]
        self._listening = listener.begin(gate=lambda: _OpenGate(self._clock))
        self.parts = list(self._clock.seconds)

    def _timed(self, ear: Ear, log_mel: LogMel, ears: int) -> Ear:
        own = f" {'+'.join(task.name for task in ear.tasks)}" if ears > 1 else ""
        encode = self._clock.timed(f"encoder{own}", ear.encode)
        branches = {
            name: _TimedBranch(self._clock, f"aggregator{own}", branch) for name, branch in ear.branches.items()
        }
        return replace(ear, log_mel=log_mel, encode=encode, branches=branches)

    def hop(self, blocks: Sequence[Block]) -> list[float]:
        """Seconds of each of `parts`, their sum, and those of listening as a whole."""
        self._clock.start()
        began = time.perf_counter()
        for block in blocks:
            self._listening.push(block)
        whole = time.perf_counter() - began
        parts = list(self._clock.seconds.values())
        return [*parts, sum(parts), whole]


def measure(bundles: Bundle | Sequence[Bundle], tasks: Sequence[str] | None, seconds: float) -> HopReport:
    """Push `seconds` of sound through the bundles, hop by hop, as fast as it goes. Without tasks: the first of each."""
    several = [bundles] if isinstance(bundles, Bundle) else list(bundles)
    names = list(tasks or [bundle.task().name for bundle in several])
    together = _Run(several, names)
    hop_samples, step_samples = _hops([ear.segmentation for ear in together.ears])
    hop_seconds = hop_samples / SAMPLE_RATE_HZ
    hops = max(1, round(seconds / hop_seconds))
    ears = together.ears if len(together.ears) > 1 else []
    alone = [_Run([ear.bundle], [task.name for task in ear.tasks]) for ear in ears]
    taken, apart = np.zeros((hops, len(together.parts) + 2)), np.zeros((hops, len(alone)))
    random = np.random.default_rng(0)
    for hop in range(-WARM_UP_HOPS, hops):
        noise = (random.standard_normal(hop_samples) * 0.05).astype(np.float32)
        blocks = [Block(noise[at : at + step_samples]) for at in range(0, hop_samples, step_samples)]
        times, wholes = together.hop(blocks), [run.hop(blocks)[-1] for run in alone]
        if hop >= 0:
            taken[hop], apart[hop] = times, wholes
    return HopReport(
        " + ".join(bundle.path.name for bundle in several),
        hops,
        hop_seconds,
        _spreads([*together.parts, "hop", "listener"], taken),
        float(taken[:, -1].sum() / (hops * hop_seconds)),
        environment() | {"runs_on": ", ".join(dict.fromkeys(ear.student.runs_on for ear in together.ears))},
        _spreads([bundle.path.name for bundle in several], apart) if alone else {},
    )


def _hops(cuts: Sequence[Segmentation]) -> tuple[int, int]:
    """The longest and the shortest hop, in samples. Raises InputError where they do not fall together."""
    longest = max(cut.hop_samples for cut in cuts)
    if any(longest % cut.hop_samples for cut in cuts):
        each = ", ".join(f"{cut.hop_seconds} s" for cut in cuts)
        raise InputError(f"expected hops that are whole multiples of each other, got {each}: measure one at a time")
    return longest, min(cut.hop_samples for cut in cuts)


def _spreads(names: Sequence[str], seconds: NDArray[np.float64]) -> dict[str, Spread]:
    percentiles = np.percentile(seconds * 1e3, [50, 90, 99], axis=0)
    return {name: Spread(*percentiles[:, i].tolist()) for i, name in enumerate(names)}
