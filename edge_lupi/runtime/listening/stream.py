"""One stream of a run: Blocks in, windows out; then what its trackers decide, as Events in the order of time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from edge_lupi.events import Event
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.runtime.band import Band
from edge_lupi.runtime.segments import Segmenter
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.trackers.tracker import UNKNOWN, Decision, Stranger, Tracker
from edge_lupi.runtime.windows import Window
from edge_lupi.task import Task

__all__ = ["Stream"]


class Stream:
    """All that a run remembers of one stream: its segmenter, a tracker for each task by name, and what was lost of it."""

    def __init__(self, name: str, segmenter: Segmenter, trackers: Mapping[str, Tracker]) -> None:
        self.name = name
        self.dropped = 0  # samples lost since the stream began
        self.band = Band()
        self.segmenter = segmenter
        self._trackers = trackers
        self._gaps: dict[str, list[tuple[float, float]]] = {task: [] for task in trackers}  # end and length, in seconds

    @property
    def seconds(self) -> float:
        """How far the stream has come, lost samples counted."""
        return self.segmenter.seconds

    def take(self, block: Block) -> list[Window]:
        """The windows that are due with this block."""
        lost, self.dropped = block.dropped - self.dropped, block.dropped
        if block.gap:
            self.segmenter.reset(lost)
            for gaps in self._gaps.values():
                gaps.append((self.seconds, lost / SAMPLE_RATE_HZ))
        return self.segmenter.take(block.samples)

    def tracker(self, task: Task) -> Tracker:
        """What decides about a task."""
        return self._trackers[task.name]

    def tell(self, decisions: Sequence[Decision]) -> None:
        """All trackers whom a task that compares voices has just named."""
        names = [decision.label for decision in decisions if decision.label != UNKNOWN]
        if names:
            for tracker in self._trackers.values():
                tracker.speaker(names[-1])

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
        if not self._gaps[task]:
            return None
        past = [gap for gap in self._gaps[task] if gap[0] < end_seconds]
        self._gaps[task] = self._gaps[task][len(past) :]
        return sum(seconds for _, seconds in past) or None
