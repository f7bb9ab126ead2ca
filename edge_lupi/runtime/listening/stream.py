"""One stream of a run: Blocks in, segments out; then what its trackers decide, as Events in the order of time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_lupi.events import Event
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.runtime.band import Band
from edge_lupi.runtime.segments import Segment, Segmenter
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.trackers.tracker import UNKNOWN, Decision, Stranger, Tracker
from edge_lupi.task import Task

__all__ = ["Stream"]


class Stream:
    """All that a run remembers of one stream: its segmenter, a tracker for each task by name, and what was lost of it."""

    def __init__(self, name: str, segmenter: Segmenter, trackers: Mapping[str, Tracker]) -> None:
        self.name = name
        self.dropped = 0  # samples lost since the stream began
        self.band = Band()
        self._segmenter = segmenter
        self._trackers = trackers
        self._gaps: dict[str, list[tuple[float, float]]] = {task: [] for task in trackers}  # end and length, in seconds

    @property
    def seconds(self) -> float:
        """How far the stream has come, lost samples counted."""
        return self._segmenter.seconds

    def push(self, block: Block) -> list[Segment]:
        """The segments that are complete with this block."""
        lost, self.dropped = block.dropped - self.dropped, block.dropped
        if block.gap:
            self._segmenter.reset(lost)
            for gaps in self._gaps.values():
                gaps.append((self.seconds, lost / SAMPLE_RATE_HZ))
        return self._segmenter.push(block.samples)

    def last_segments(self) -> list[Segment]:
        """At the end of the stream: what was shorter than a segment."""
        return self._segmenter.finish()

    def decide(
        self, tasks: Sequence[Task], segment: Segment, embedding: NDArray[np.float32] | None
    ) -> list[tuple[str, Decision]]:
        """What the trackers of these tasks make of a segment and its embedding [1, D]; None where hardly anybody speaks.

        Whom a task that compares voices names, all trackers are told.
        """
        decisions = list[tuple[str, Decision]]()
        for task in tasks:
            tracker = self._trackers[task.name]
            own = tracker.silence(segment) if embedding is None else tracker.speech(segment, embedding)
            decisions += [(task.name, decision) for decision in own]
            names = [decision.label for decision in own if decision.label != UNKNOWN]
            if names and task.verifies:
                for other in self._trackers.values():
                    other.speaker(names[-1])
        return decisions

    def stranger(self, label: str) -> Stranger | None:
        """What its trackers remember of a voice with this number; None where nothing is."""
        found = (tracker.stranger(label) for tracker in self._trackers.values())
        return next((stranger for stranger in found if stranger), None)

    def renamed(self, label: str, name: str) -> None:
        """Somebody is called by another name from now on."""
        for tracker in self._trackers.values():
            tracker.renamed(label, name)

    def last_decisions(self) -> list[tuple[str, Decision]]:
        """At the end of the stream: what trackers held back."""
        return [(task, decision) for task, tracker in self._trackers.items() for decision in tracker.finish()]

    def events(self, decisions: Sequence[tuple[str, Decision]], received_seconds: float) -> list[Event]:
        """What was decided at one moment, about sound whose last sample came at `received_seconds`."""
        in_time = sorted(decisions, key=lambda pair: pair[1].end_seconds)
        return [self._event(task, decision, received_seconds) for task, decision in in_time]

    def _event(self, task: str, decision: Decision, received_seconds: float) -> Event:
        return Event(
            time=decision.end_seconds,
            start=decision.start_seconds,
            task=task,
            label=decision.label,
            score=decision.score,
            threshold=decision.threshold,
            probability=decision.probability,
            latency_ms=(time.perf_counter() - received_seconds) * 1000,
            dropped=self.dropped,
            gap_seconds=self._gap_before(task, decision.end_seconds),
            stream=self.name or None,
        )

    def _gap_before(self, task: str, end_seconds: float) -> float | None:
        """Seconds lost before this end that no event of this task has reported."""
        past = [gap for gap in self._gaps[task] if gap[0] < end_seconds]
        self._gaps[task] = self._gaps[task][len(past) :]
        return sum(seconds for _, seconds in past) or None
