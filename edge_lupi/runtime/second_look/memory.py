"""What a run heard, remembered for a second look: each segment's voice and the turns that were told live.

memory = Memory(listener)                                        # an Output as others
for event in listening.listen(source, encoded=memory.encoded): ...
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from edge_lupi.errors import InputError
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.runtime.outputs.turns import Output, Turn
from edge_lupi.runtime.second_look.people import People
from edge_lupi.runtime.segments import Segment
from edge_lupi.runtime.trackers.tracker import UNKNOWN
from edge_lupi.vectors import Array, unit

__all__ = ["Memory", "Remembered", "speakers_in"]

log = logging.getLogger(__name__)
MOST_SEGMENTS = 200_000  # of a run: a day of speech without a pause, some 100 MB


@dataclass(eq=False)
class Remembered:
    """One stream: segments with a unit vector each, in the order of time, and the turns told live."""

    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    voices: list[Array] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)


class Memory(Output):
    """By stream, for the first task that compares voices. Raises InputError where none does."""

    def __init__(self, listener: Listener) -> None:
        comparing = [task for task in listener.tasks if task.verifies]
        if not comparing:
            raise InputError(
                f"expected a task that compares voices to look again at who spoke, got {', '.join(task.name for task in listener.tasks)}: ask for one that does, too",
                options=("task",),
            )
        self.task = comparing[0]
        self.people = People(
            self.task.name, listener.threshold(self.task), listener.gallery, listener.of_people(self.task)
        )
        self.segmentation = listener.segmentations[self.task.name]
        self.streams: dict[str, Remembered] = {}
        self._ear = next(number for number, ear in enumerate(listener.ears) if self.task in ear.tasks)
        self._aggregator = listener.ears[self._ear].branches[self.task.name]
        self._left = MOST_SEGMENTS

    def encoded(self, stream: str, segment: Segment, embedding: Array) -> None:
        """A segment in which somebody speaks, with its embedding [1, D]."""
        if segment.cut != self._ear or self._left <= 0:
            return
        self._left -= 1
        if not self._left:
            log.warning(f"the second look ends at {segment.end_seconds:.0f} s: longer sound is told live alone")
        step = self._aggregator.step(embedding, self._aggregator.initial_state())
        remembered = self.streams.setdefault(stream, Remembered())
        remembered.starts.append(segment.start_seconds)
        remembered.ends.append(segment.end_seconds)
        remembered.voices.append(unit(step.embedding[0]).astype(np.float32))

    def turn(self, turn: Turn) -> None:
        """A turn told live."""
        if turn.task == self.task.name:
            self.streams.setdefault(turn.stream, Remembered()).turns.append(turn)

    @property
    def turns_live(self) -> list[Turn]:
        """All turns told live."""
        return [turn for remembered in self.streams.values() for turn in remembered.turns]


def speakers_in(turns: Iterable[Turn]) -> int:
    """How many voices turns tell apart, strays aside; each stream has its own."""
    return len({(turn.stream, turn.label) for turn in turns if turn.label != UNKNOWN})
