"""The whole listening side in one object: a source of Blocks in, Events out.

for event in Listener("speaker.lupi").listen(Microphone()): ...
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edge_lupi.bundle import Bundle
from edge_lupi.errors import InputError
from edge_lupi.events import Event
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.runtime.gallery import Gallery
from edge_lupi.runtime.ring import Block
from edge_lupi.runtime.segments import Segment, Segmenter
from edge_lupi.runtime.student import CompiledStudent
from edge_lupi.runtime.tracker import DEFAULT_THRESHOLD, Finding, LabelTracker, SpeakerTracker

__all__ = ["SPEECH_SHARE", "Listener", "Statistics"]

SPEECH_SHARE = 0.5  # a segment with less speech than this is silence
KEPT_TIMES = 10_000  # of the newest segments: over an hour


@dataclass
class Statistics:
    """What was heard and what it cost. `compute_ms` has a figure for every segment, the newest 10,000 of them."""

    heard_seconds: float = 0.0
    segments: int = 0
    dropped: int = 0
    compute_ms: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT_TIMES))

    def percentile_ms(self, percent: float) -> float:
        """The compute time that so many per cent of the segments stay below."""
        return float(np.percentile(list(self.compute_ms), percent)) if self.compute_ms else 0.0

    def __str__(self) -> str:
        return (
            f"heard {self.heard_seconds:.1f} s, {self.segments} segments, compute p50 {self.percentile_ms(50):.1f} ms "
            f"p99 {self.percentile_ms(99):.1f} ms, dropped {self.dropped} samples"
        )


class Listener:
    """A student that listens for one task. `threshold` stands for the bundle's own where given."""

    def __init__(
        self,
        bundle: Bundle | str | Path,
        task: str = "speaker",
        gallery: Gallery | None = None,
        threshold: float | None = None,
    ) -> None:
        loaded = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)
        self.student = CompiledStudent(loaded, task)
        self.task = self.student.task
        self.statistics = Statistics()
        self._gallery = gallery
        own = DEFAULT_THRESHOLD if self.task.threshold is None else self.task.threshold
        self._threshold = own if threshold is None else threshold
        if not 0 < self._threshold <= 1:
            raise InputError(f"expected a threshold above 0 and at most 1 (a cosine), got {self._threshold}")

    def listen(self, source: Iterable[Block]) -> Iterator[Event]:
        """Events as they become ready, until the source ends. Each call begins anew and may run for ever."""
        self.statistics = Statistics()
        tracker = self._tracker()
        segmenter = Segmenter(self.student.log_mel, self.student.segmentation)
        received = time.perf_counter()
        for block in source:
            began, received = time.perf_counter(), block.received_seconds
            if block.gap:
                segmenter.reset(block.dropped - self.statistics.dropped)
            self.statistics.dropped = block.dropped
            self.statistics.heard_seconds += len(block.samples) / SAMPLE_RATE_HZ
            for segment in segmenter.push(block.samples):
                findings = self._hear(segment, tracker)
                self._count(began)
                began = time.perf_counter()
                yield from self._events(findings, received)
        for segment in segmenter.finish():
            began = time.perf_counter()
            findings = self._hear(segment, tracker)
            self._count(began)
            yield from self._events(findings, received)
        yield from self._events(tracker.finish(), received)

    def _tracker(self) -> SpeakerTracker | LabelTracker:
        if self.task.kind == "verification":
            return SpeakerTracker(self.student, self._threshold, self._gallery)
        return LabelTracker(self.student, self.task)

    def _hear(self, segment: Segment, tracker: SpeakerTracker | LabelTracker) -> list[Finding]:
        if segment.speech_share < SPEECH_SHARE:
            return tracker.silence(segment)
        return tracker.speech(segment, self.student.encode(segment.log_mel[None]))

    def _count(self, began_seconds: float) -> None:
        self.statistics.segments += 1
        self.statistics.compute_ms.append((time.perf_counter() - began_seconds) * 1000)

    def _events(self, findings: list[Finding], received_seconds: float) -> Iterator[Event]:
        verification = self.task.kind == "verification"
        for finding in findings:
            yield Event(
                time=finding.end_seconds,
                start=finding.start_seconds,
                task=self.task.name,
                label=finding.label,
                score=finding.score,
                threshold=self._threshold if verification else None,
                probability=finding.probability,
                latency_ms=(time.perf_counter() - received_seconds) * 1000,
                dropped=self.statistics.dropped,
            )
