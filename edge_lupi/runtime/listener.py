"""The whole listening side in one object: a source of Blocks in, Events out.

for event in Listener("speaker.lupi").listen(Microphone()): ...

Enrolled people are called by their names, from the same file as `edge-lupi listen` reads.

Every stream of the source has its own segments and its own memory of who spoke. What is ready at the same moment, of one
stream or of many, goes through the encoder as one batch. Several bundles hear the same stream: its gate is asked once, its
log-mel is computed once where theirs is the same, and what they tell at the same moment is told in the order of time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.bundle.calibration import Calibration, load_calibration
from edge_lupi.errors import InputError
from edge_lupi.events import Event
from edge_lupi.frames import SAMPLE_RATE_HZ, Segmentation
from edge_lupi.runtime.band import Band
from edge_lupi.runtime.ears import Ear, ears_of
from edge_lupi.runtime.gates.silero import make_gate
from edge_lupi.runtime.latency import latency as preset
from edge_lupi.runtime.segments import Segment, Segmenter
from edge_lupi.runtime.sources.ring import Block
from edge_lupi.runtime.sources.source import Source, say
from edge_lupi.runtime.speakers.gallery import Gallery
from edge_lupi.runtime.statistics import Heard, Statistics
from edge_lupi.runtime.trackers.confirm import Confirmed, Tracker
from edge_lupi.runtime.trackers.label import UNSURE, LabelTracker, Smoothing
from edge_lupi.runtime.trackers.speaker import UNKNOWN, Finding, SpeakerTracker
from edge_lupi.runtime.trackers.voice import Voices
from edge_lupi.task import DEFAULT_THRESHOLD, Task

__all__ = ["SPEECH_SHARE", "Heard", "Listener", "Statistics"]

SPEECH_SHARE = 0.5  # a segment with less speech than this is silence


@dataclass(eq=False)
class _Stream:
    """What is remembered of one stream. `gaps`: where each ends in the stream, and how long it is, until it is told."""

    name: str
    segmenter: Segmenter
    trackers: list[list[tuple[Task, Tracker]]]  # by ear
    voices: list[Voices]  # one for each task with labels
    dropped: int = 0
    gaps: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    band: Band = field(default_factory=Band)

    def gap_before(self, task: str, end_seconds: float) -> float | None:
        """Seconds lost before this end and not told of for this task."""
        gaps = self.gaps.get(task, [])
        told = [gap for gap in gaps if gap[0] < end_seconds]
        self.gaps[task] = gaps[len(told) :]
        return sum(seconds for _, seconds in told) or None


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A segment that is ready to be encoded, and when its last block came and was taken."""

    stream: _Stream
    segment: Segment
    received_seconds: float
    taken_seconds: float

    @property
    def trackers(self) -> list[tuple[Task, Tracker]]:
        """Those that hear this segment."""
        return self.stream.trackers[self.segment.cut]


class Listener:
    """A student that listens for a task, or for several at once: those of its bundle, or of several bundles side by side.

    Without `task`, each bundle is asked for its first one. `threshold` is of tasks that compare voices, `sure` of those
    with labels. `segmentations` are the segments by task, `student` is the first bundle's.

    `gallery` are the known speakers: without it those of `edge-lupi enroll` (`Gallery.open()`), as `edge-lupi listen` has
    them; with None nobody is known and all are numbered. Raises InputError where they are of another student.
    `threshold` stands for the bundle's own where given; what `edge-lupi calibrate` found stands for it towards enrolled
    people where it is not. `gate` is `voice` or `energy`, `latency` is `low`, `normal` or
    `accurate`. `sure` is the probability below which a label is `unsure` (see `labels.Smoothing`). `doubts` are sentences
    about what was calibrated and no longer holds.
    """

    def __init__(
        self,
        bundle: Bundle | str | Path | Sequence[Bundle | str | Path],
        task: str | Sequence[str] | None = None,
        gallery: Gallery | Literal["enrolled"] | None = "enrolled",
        threshold: float | None = None,
        *,
        gate: str = "voice",
        latency: str = "normal",
        sure: float | None = None,
    ) -> None:
        several = [bundle] if isinstance(bundle, (Bundle, str, Path)) else bundle
        bundles = [one if isinstance(one, Bundle) else Bundle.load(one) for one in several]
        self._latency = preset(latency)
        names = [known.task().name for known in bundles] if task is None else [task] if isinstance(task, str) else task
        self._ears = ears_of(bundles, names, self._latency)
        for ear in self._ears:
            ear.student.on_failure = self._gpu_failed
        by_name = {known.name: known for ear in self._ears for known in ear.tasks}
        self.tasks = [by_name[name] for name in names]
        self.student = self._ears[0].student
        self.segmentations: Mapping[str, Segmentation] = {
            known.name: ear.segmentation for ear in self._ears for known in ear.tasks
        }
        self._gate = gate
        self._gallery = _known(self._ears, gallery)
        self._given = threshold
        self._smoothing = Smoothing() if sure is None else Smoothing(sure=sure)
        for known in self.tasks:
            self._check_threshold(known)
        self._calibrated = {} if threshold is not None else _calibrated(self._ears)
        people = len(self._gallery.names) if self._gallery else 0
        self.doubts = [doubt for known in self._calibrated.values() if (doubt := known.outgrown(people))]
        delay_seconds = make_gate(gate).delay_seconds
        self.algorithm_seconds = max(self._latency.seconds(ear.segmentation, delay_seconds) for ear in self._ears)
        self.statistics = Statistics(self.algorithm_seconds)

    @property
    def task(self) -> Task:
        """The first one."""
        return self.tasks[0]

    @property
    def segmentation(self) -> Segmentation:
        """The first task's segments."""
        return self.segmentations[self.task.name]

    def listen(self, source: Iterable[Block], *, passed: Callable[[str, float], None] | None = None) -> Iterator[Event]:
        """Events as they become ready, until the source ends. Each call begins anew and may run for ever.

        `passed` is told after every block, also in silence, how far its stream has come, in seconds.
        """
        self.statistics = Statistics(self.algorithm_seconds)
        streams: dict[str, _Stream] = {}
        waiting: list[_Waiting] = []
        most = min(ear.student.max_batch for ear in self._ears)
        received = time.perf_counter()
        for block in source:
            received = block.received_seconds
            if block.stream not in streams:
                streams[block.stream] = self._begin(block.stream)
            waiting += self._take(block, streams[block.stream])
            if waiting and (not block.more or len(waiting) >= most):
                self._look_at(source)
                yield from self._answer(waiting)
                waiting = []
            if passed:
                passed(block.stream, streams[block.stream].segmenter.seconds)
        for stream in streams.values():
            taken = time.perf_counter()
            waiting += [_Waiting(stream, segment, received, taken) for segment in stream.segmenter.finish()]
        yield from self._answer(waiting)
        self._look_at(source)
        for stream in streams.values():
            last = [(task, tracker.finish()) for of_ear in stream.trackers for task, tracker in of_ear]
            yield from self._events(stream, last, received)

    def _begin(self, name: str) -> _Stream:
        self.statistics.streams += 1
        first, *others = [(ear.log_mel, ear.segmentation) for ear in self._ears]
        segmenter = Segmenter(*first, make_gate(self._gate), beside=others)
        voices = {task.name: self._voices(ear, task) for ear in self._ears for task in ear.tasks}
        trackers = [[(task, self._tracker(ear, task, voices[task.name])) for task in ear.tasks] for ear in self._ears]
        return _Stream(name, segmenter, trackers, list(voices.values()))

    def _voices(self, ear: Ear, task: Task) -> Voices:
        """What enrolled people's voices usually are to a task with labels, as far as `enroll` kept it."""
        known = self._gallery if task.voice else None
        return Voices(known.averages(ear.student.bundle.fingerprint) if known else None)

    def _tracker(self, ear: Ear, task: Task, voices: Voices) -> Tracker:
        branch = ear.student.branches[task.name]
        tracker: Tracker
        if task.verifies:
            known = self._calibrated.get(task.name)
            asked = known.threshold if known else None
            tracker, doubt = SpeakerTracker(branch, self._threshold(task), self._gallery, known=asked), UNKNOWN
        else:
            tracker, doubt = LabelTracker(branch, task, self._smoothing, voices), UNSURE
        return Confirmed(tracker, doubt) if self._latency.confirmations else tracker

    def _take(self, block: Block, stream: _Stream) -> list[_Waiting]:
        """The segments that are complete with this block."""
        taken = time.perf_counter()
        lost = block.dropped - stream.dropped
        stream.dropped = block.dropped
        self.statistics.dropped += lost
        if block.gap:
            stream.segmenter.reset(lost)
            for task in self.tasks:
                gap = (stream.segmenter.seconds, lost / SAMPLE_RATE_HZ)
                stream.gaps.setdefault(task.name, []).append(gap)
        self.statistics.heard_seconds += len(block.samples) / SAMPLE_RATE_HZ
        segments = stream.segmenter.push(block.samples)
        self._note(stream, segments)
        return [_Waiting(stream, segment, block.received_seconds, taken) for segment in segments]

    def _note(self, stream: _Stream, segments: list[Segment]) -> None:
        before = self.statistics.by_stream.get(stream.name, Heard())
        level_db = segments[-1].level_db if segments else before.level_db
        self.statistics.by_stream[stream.name] = Heard(stream.segmenter.seconds, level_db, stream.dropped)

    def _answer(self, waiting: list[_Waiting]) -> Iterator[Event]:
        """Encode what waits, in batches, and tell what each stream makes of it, moment by moment."""
        most = min(ear.student.max_batch for ear in self._ears)
        for begin in range(0, len(waiting), most):
            batch = waiting[begin : begin + most]
            findings = self._findings(batch)
            self._count(batch)
            for _, moment in groupby(zip(batch, findings, strict=True), key=_moment):
                (item, found), *others = moment
                together = [*found, *(of_task for _, more in others for of_task in more)]
                yield from self._events(item.stream, together, item.received_seconds)

    def _findings(self, batch: list[_Waiting]) -> list[list[tuple[Task, list[Finding]]]]:
        spoken = [item for item in batch if item.segment.speech_share >= SPEECH_SHARE]
        embeddings: dict[int, NDArray[np.float32]] = {}
        for number, ear in enumerate(self._ears):
            own = [item for item in spoken if item.segment.cut == number]
            if own:
                encoded = ear.student.encode(np.stack([item.segment.log_mel for item in own]))
                embeddings |= {id(item): encoded[row : row + 1] for row, item in enumerate(own)}
        for item in spoken:
            self._look_at_band(item)
        self.statistics.encoded += len(spoken)
        return [
            [(task, _hear(item, task, tracker, embeddings.get(id(item)))) for task, tracker in item.trackers]
            for item in batch
        ]

    def _look_at_band(self, item: _Waiting) -> None:
        if item.segment.cut == 0 and item.stream.band.hear(item.segment.log_mel):
            notice = f"{item.stream.name}: {Band.told}" if item.stream.name else Band.told
            self._notice(notice)

    def _gpu_failed(self, notice: str) -> None:
        self.statistics.gpu_failures += 1
        self._notice(notice)

    def _notice(self, notice: str) -> None:
        self.statistics.notices.append(notice)
        say(notice)

    def _count(self, batch: list[_Waiting]) -> None:
        done = time.perf_counter()
        self.statistics.segments += len(batch)
        self.statistics.compute_ms.extend((done - item.taken_seconds) * 1000 for item in batch)

    def _look_at(self, source: Iterable[Block]) -> None:
        if isinstance(source, Source):
            self.statistics.reconnections = source.reconnections
            self.statistics.peak_fill_seconds = source.peak_fill_seconds

    def _events(
        self, stream: _Stream, found: list[tuple[Task, list[Finding]]], received_seconds: float
    ) -> Iterator[Event]:
        """What became known at one moment, in the order of time."""
        told = [(task, finding) for task, of_task in found for finding in of_task]
        for task, finding in sorted(told, key=lambda pair: pair[1].end_seconds):
            yield Event(
                time=finding.end_seconds,
                start=finding.start_seconds,
                task=task.name,
                label=finding.label,
                score=finding.score,
                threshold=finding.threshold,
                probability=finding.probability,
                latency_ms=(time.perf_counter() - received_seconds) * 1000,
                dropped=stream.dropped,
                gap_seconds=stream.gap_before(task.name, finding.end_seconds),
                stream=stream.name or None,
            )

    def _threshold(self, task: Task) -> float:
        own = DEFAULT_THRESHOLD if task.threshold is None else task.threshold
        return own if self._given is None else self._given

    def _check_threshold(self, task: Task) -> None:
        threshold = self._threshold(task)
        if task.verifies and not 0 < threshold <= 1:
            raise InputError(f"expected a threshold above 0 and at most 1 (a cosine), got {threshold}")


def _known(ears: Sequence[Ear], gallery: Gallery | Literal["enrolled"] | None) -> Gallery | None:
    """The speakers that these students know, if one of them compares voices."""
    comparing = [ear.bundle for ear in ears if any(task.verifies for task in ear.tasks)]
    if gallery is None or not comparing:
        return None
    if not isinstance(gallery, Gallery):
        if gallery != "enrolled":
            raise InputError(f"expected known speakers, got {gallery!r}: pass gallery=Gallery.open({str(gallery)!r})")
        gallery = Gallery.open(fingerprint=comparing[0].fingerprint)
    if gallery.names:
        for bundle in comparing:
            gallery.check_student(bundle.fingerprint)
    return gallery


def _calibrated(ears: Sequence[Ear]) -> dict[str, Calibration]:
    asked = [(ear.bundle, task.name) for ear in ears for task in ear.tasks]
    found = {name: load_calibration(bundle.path, bundle.fingerprint, name) for bundle, name in asked}
    return {name: calibration for name, calibration in found.items() if calibration}


def _moment(pair: tuple[_Waiting, object]) -> tuple[int, float]:
    """Of a stream: segments of several students may end at once."""
    return id(pair[0].stream), pair[0].segment.end_seconds


def _hear(item: _Waiting, task: Task, tracker: Tracker, embedding: NDArray[np.float32] | None) -> list[Finding]:
    """What a tracker makes of a segment. Who speaks is passed on to the tasks with labels."""
    found = tracker.silence(item.segment) if embedding is None else tracker.speech(item.segment, embedding)
    told = [finding.label for finding in found if task.verifies and finding.label != UNKNOWN]
    for voices in item.stream.voices if told else []:
        voices.speaking = told[-1]
    return found
