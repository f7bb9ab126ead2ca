"""A listener timed by part and as a whole: Blocks of a hop in, seconds of wall and thread time out.

Front end, speech gate, encoder, aggregator and trackers are replaced by the same, timed; whatever else listening does is in the
whole alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.device.bench.clock import Clock, Times
from edge_lupi.runtime.gates.gate import Gate
from edge_lupi.runtime.gates.make import make_gate
from edge_lupi.runtime.listening.ears import Ear
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.runtime.segments import LogMel, Segment
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.trackers.tracker import Aggregator, Array, Decision, Tracker

__all__ = ["OpenGate", "TimedRun"]

Frames = NDArray[np.bool_]


class OpenGate:
    """A speech gate that does all its work; whatever it says, every frame counts as speech."""

    def __init__(self, gate: Gate) -> None:
        self.delay_seconds, self.reset = gate.delay_seconds, gate.reset
        self._gate = gate

    def push(self, log_mel: Array, samples: Array) -> Frames:
        """log-mel [80, F] and samples [160 * F] -> True for each frame."""
        return self.push_all([self], [log_mel], [samples])[0]

    def push_all(self, gates: Sequence[OpenGate], log_mels: Sequence[Array], samples: Sequence[Array]) -> list[Frames]:
        """Of several streams, each with its own sound."""
        return [np.ones_like(said) for said in self._gate.push_all([one._gate for one in gates], log_mels, samples)]


class _TimedGate:
    def __init__(self, clock: Clock, gate: Gate) -> None:
        self.delay_seconds, self.reset = gate.delay_seconds, gate.reset
        self.push: Callable[[Array, Array], Frames] = clock.timed("gate", gate.push)
        self._push_all = clock.timed("gate", gate.push_all)
        self._gate = gate

    def push_all(
        self, gates: Sequence[_TimedGate], log_mels: Sequence[Array], samples: Sequence[Array]
    ) -> list[Frames]:
        said: list[Frames] = self._push_all([one._gate for one in gates], log_mels, samples)
        return said


class _TimedBranch:
    def __init__(self, clock: Clock, part: str, branch: Aggregator) -> None:
        self.initial_state, self.step = branch.initial_state, clock.timed(part, branch.step)


class _TimedTracker:
    def __init__(self, clock: Clock, part: str, tracker: Tracker) -> None:
        self.finish, self.speaker = tracker.finish, tracker.speaker
        self.stranger, self.renamed = tracker.stranger, tracker.renamed
        self.states: Callable[[Segment], Array | None] = clock.timed(part, tracker.states)
        self.speech: Callable[..., list[Decision]] = clock.timed(part, tracker.speech)
        self.silence: Callable[[Segment], list[Decision]] = clock.timed(part, tracker.silence)


class _TimedListener(Listener):
    """The listener, its parts timed."""

    def __init__(self, clock: Clock, bundles: Sequence[Bundle], tasks: Sequence[str], gate: str, is_open: bool) -> None:
        super().__init__(bundles, tasks, gallery=None, gate=gate)
        self._clock, self._is_open = clock, is_open
        owners = {task.name: self._own(ear) for ear in self.ears for task in ear.tasks}
        self._tracker_parts = {name: f"tracker{own}" for name, own in owners.items()}
        log_mels = {ear.log_mel: clock.timed("front_end", ear.log_mel) for ear in self.ears}
        clock.name("gate")
        self.ears = [self._timed(ear, log_mels[ear.log_mel]) for ear in self.ears]
        clock.name(*self._tracker_parts.values())

    def gate(self) -> Gate:
        """A stream's gate, timed."""
        timed = _TimedGate(self._clock, make_gate(self._gate))
        return OpenGate(timed) if self._is_open else timed

    def _own(self, ear: Ear) -> str:
        return f" {'+'.join(task.name for task in ear.tasks)}" if len(self.ears) > 1 else ""

    def _timed(self, ear: Ear, log_mel: LogMel) -> Ear:
        encode = self._clock.timed(f"encoder{self._own(ear)}", ear.encode)
        part = f"aggregator{self._own(ear)}"
        branches = {name: _TimedBranch(self._clock, part, branch) for name, branch in ear.branches.items()}
        return replace(ear, log_mel=log_mel, encode=encode, branches=branches)

    def _trackers(self) -> dict[str, Tracker]:
        made = super()._trackers()
        return {name: _TimedTracker(self._clock, self._tracker_parts[name], one) for name, one in made.items()}


class TimedRun:
    """A run over one stream. With `is_open` every segment counts as speech; with `reads` taking a block is a part, too."""

    def __init__(
        self,
        bundles: Sequence[Bundle],
        tasks: Sequence[str],
        gate: str = "voice",
        *,
        is_open: bool = True,
        reads: bool = False,
    ) -> None:
        self._clock = Clock()
        self._take = self._clock.timed("source", next) if reads else None
        listener = _TimedListener(self._clock, bundles, tasks, gate, is_open)
        self.ears = listener.ears
        self._listening = listener.begin(gate=listener.gate)
        self.parts = [*self._clock.parts, "hop", "listener"]

    def hop(
        self, blocks: Iterator[Block], wait: Callable[[Block], None] = lambda block: None
    ) -> tuple[Times, list[Block]]:
        """Wall and thread seconds [parts, 2] of these blocks: of each part, of their sum, and of the whole; and the blocks.

        `wait` is called before each block is pushed, outside of what is timed.
        """
        self._clock.start()
        pushed, blocks_taken = Clock(), list[Block]()
        push = pushed.timed("listener", self._listening.push)
        while (block := (self._take or next)(blocks, None)) is not None:
            wait(block)
            push(block)
            blocks_taken.append(block)
        parts, whole = self._clock.read(), pushed.read()[0]
        if self._take:
            whole = whole + parts[0]
        return np.vstack([parts, parts.sum(axis=0), whole]), blocks_taken
