"""Identity of a whole utterance: everything that is said counts as one voice's. Segments and embeddings [1, D] in, Decisions out.

Each Decision is about all that was heard until then, so the last one has the most evidence: for a command, where one person
speaks for some seconds and somebody asks once, at its end, who it was. `SpeakerTracker` is for conversations.
"""

from __future__ import annotations

import numpy as np

from edge_lupi.bundle.threshold import Threshold
from edge_lupi.runtime.compiled_student import Step
from edge_lupi.runtime.segments import Segment
from edge_lupi.runtime.speakers.gallery import Gallery
from edge_lupi.runtime.trackers.tracker import UNKNOWN, Aggregator, Decision
from edge_lupi.vectors import Array, unit

__all__ = ["WholeTracker"]


class WholeTracker:
    """The person of a gallery nearest to the voice of the stream so far, or `unknown` below the cosine asked of people."""

    def __init__(self, aggregator: Aggregator, gallery: Gallery | None, of_people: Threshold) -> None:
        self._aggregator, self._gallery, self._of_people = aggregator, gallery, of_people
        self._state = aggregator.initial_state()
        self._start_seconds = np.inf
        self._end_seconds = 0.0
        self._seconds = 0.0  # of speech

    def states(self, segment: Segment) -> Array:
        """Behind all that was heard."""
        return self._state

    def speech(self, segment: Segment, embedding: Array, heard: Step | None = None) -> list[Decision]:
        """A segment in which somebody speaks, with its embedding [1, D]; `heard` is that behind `states`."""
        step = heard or self._aggregator.step(embedding, self._state)
        self._state = step.state
        self._seconds += segment.end_seconds - max(segment.start_seconds, self._end_seconds)
        self._start_seconds = min(self._start_seconds, segment.start_seconds)
        self._end_seconds = segment.end_seconds
        nearest = self._gallery.match(unit(step.embedding[0])) if self._gallery else None
        name, cosine = nearest or (UNKNOWN, 0.0)
        threshold = self._of_people.at(self._seconds)
        label = name if cosine >= threshold else UNKNOWN
        return [Decision(self._start_seconds, self._end_seconds, label, cosine, threshold=threshold)]

    def silence(self, segment: Segment) -> list[Decision]:
        """A segment in which hardly anybody speaks."""
        return []

    def finish(self) -> list[Decision]:
        """The end of the stream; nothing was held back."""
        return []

    def speaker(self, name: str) -> None:
        """Who speaks now: nothing that this tracker does not know."""

    def stranger(self, label: str) -> None:
        """Nobody has a number here."""

    def renamed(self, label: str, name: str) -> None:
        """Names are the gallery's."""
