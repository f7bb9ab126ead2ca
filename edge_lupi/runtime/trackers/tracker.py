"""Trackers: segments and their embeddings [1, D] in, Decisions out; all that is remembered of one stream for one task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_lupi.runtime.compiled_student import Step
from edge_lupi.runtime.segments import Segment

__all__ = ["UNKNOWN", "Aggregator", "Decision", "Stranger", "Tracker"]

Array = NDArray[np.float32]
UNKNOWN = "unknown"


class Aggregator(Protocol):
    """The part of a student that trackers need."""

    def initial_state(self, batch: int = 1) -> Array:
        """The state before anything was heard."""

    def step(self, embedding: Array, state: Array) -> Step:
        """One more segment."""


@dataclass(frozen=True)
class Decision:
    """A label for a stretch of the stream: a segment, or several where the last decided about those before it.

    `threshold` is the cosine that a known person had to reach.
    """

    start_seconds: float
    end_seconds: float
    label: str
    score: float | None = None
    probability: float | None = None
    threshold: float | None = None


@dataclass(frozen=True, eq=False)
class Stranger:
    """A voice that nobody enrolled: the unit vector [D] of all that was heard of it, and the seconds of that speech."""

    voice: Array
    seconds: float


class Tracker(Protocol):
    """What turns segments into decisions: all that is remembered of one stream for one task."""

    def states(self, segment: Segment) -> Array | None:
        """The states [n, K] behind which the aggregator is to hear the next segment of speech; None where it is not asked."""

    def speech(self, segment: Segment, embedding: Array, heard: Step | None = None) -> list[Decision]:
        """A segment in which somebody speaks, with its embedding [1, D], and that behind each of the `states`, where it is known."""

    def silence(self, segment: Segment) -> list[Decision]:
        """A segment in which hardly anybody speaks."""

    def finish(self) -> list[Decision]:
        """The end of the stream: what was held back."""

    def speaker(self, name: str) -> None:
        """Who speaks now, as a task that compares voices has just decided."""

    def stranger(self, label: str) -> Stranger | None:
        """What is remembered of a voice that has this number, such as `speaker 2`; None where nothing is."""

    def renamed(self, label: str, name: str) -> None:
        """Somebody is called by another name from now on; by `UNKNOWN` where nothing is to be remembered of them."""
