"""The whole listening side in one object: a source of Blocks in, Events out.

for event in Listener("speaker.lupi").listen(Microphone()): ...

Enrolled people are called by their names, from the same file as `edge-lupi listen` reads.

Every stream of the source has its own segments and its own memory of who spoke. What is ready at the same moment, of one
stream or of many, goes through the encoder as one batch.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_lupi.bundle import Bundle, Task
from edge_lupi.errors import InputError
from edge_lupi.events import Event
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.runtime.band import Band
from edge_lupi.runtime.calibration import Calibration, load_calibration
from edge_lupi.runtime.confirm import Confirmed, Tracker
from edge_lupi.runtime.gallery import Gallery
from edge_lupi.runtime.labels import UNSURE, LabelTracker, Smoothing
from edge_lupi.runtime.latency import latency as preset
from edge_lupi.runtime.ring import Block
from edge_lupi.runtime.segments import Segment, Segmenter
from edge_lupi.runtime.silero import make_gate
from edge_lupi.runtime.source import Source, say
from edge_lupi.runtime.student import CompiledStudent
from edge_lupi.runtime.tracker import DEFAULT_THRESHOLD, UNKNOWN, Finding, SpeakerTracker

__all__ = ["SPEECH_SHARE", "Heard", "Listener", "Statistics"]

SPEECH_SHARE = 0.5  # a segment with less speech than this is silence
KEPT_TIMES = 2_000  # of the newest segments: over a quarter of an hour of one stream


@dataclass(frozen=True)
class Heard:
    """How far a stream has come, the RMS level of its last segment in dB of full scale, and its lost samples."""

    seconds: float = 0.0
    level_db: float = -np.inf
    dropped: int = 0


@dataclass
class Statistics:
    """What was heard and what it cost, all streams together.

    `algorithm_seconds` is the method's delay, from the settings (see `latency`). `compute_ms` is the computer's: for each
    segment, the newest 2,000 of them, the time from its last block to its answer. `peak_fill_seconds` is the most sound
    that ever waited, `reconnections` counts how often a device was lost and came back. `by_stream` goes on in silence too.
    `gpu_failures` counts how often the CPU took over from a GPU. `notices` are sentences about the sound and the GPU, each of
    which was also said on stderr.
    """

    algorithm_seconds: float = 0.0
    streams: int = 0
    heard_seconds: float = 0.0
    segments: int = 0
    encoded: int = 0
    dropped: int = 0
    peak_fill_seconds: float = 0.0
    reconnections: int = 0
    gpu_failures: int = 0
    compute_ms: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT_TIMES))
    by_stream: dict[str, Heard] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    def percentile_ms(self, percent: float) -> float:
        """The compute time that so many per cent of the segments stay below."""
        return float(np.percentile(list(self.compute_ms), percent)) if self.compute_ms else 0.0

    def __str__(self) -> str:
        streams = f" of {self.streams} streams" if self.streams > 1 else ""
        device = f", {self.reconnections} reconnections" if self.reconnections else ""
        device += f", {self.gpu_failures} failures of the GPU" if self.gpu_failures else ""
        return (
            f"heard {self.heard_seconds:.1f} s{streams}, {self.segments} segments, "
            f"latency {self.algorithm_seconds:.2f} s by the method and p50 {self.percentile_ms(50):.1f} ms "
            f"p99 {self.percentile_ms(99):.1f} ms by the computer, "
            f"dropped {self.dropped} samples, at most {self.peak_fill_seconds:.2f} s waiting{device}"
        )


@dataclass(eq=False)
class _Stream:
    """What is remembered of one stream. `gaps`: where each ends in the stream, and how long it is, until it is told."""

    name: str
    segmenter: Segmenter
    trackers: list[tuple[Task, Tracker]]
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


class Listener:
    """A student that listens for a task, or for several at once where its bundle has them.

    `gallery` are the known speakers: without it those of `edge-lupi enroll` (`Gallery.open()`), as `edge-lupi listen` has
    them; with None nobody is known and all are numbered. Raises InputError where they are of another student.
    `threshold` stands for the bundle's own where given; what `edge-lupi calibrate` found stands for it towards enrolled
    people where it is not. `gate` is `voice` or `energy`, `latency` is `low`, `normal` or
    `accurate`. `sure` is the probability below which a label is `unsure` (see `labels.Smoothing`). `doubts` are sentences
    about what was calibrated and no longer holds.
    """

    def __init__(
        self,
        bundle: Bundle | str | Path,
        task: str | Sequence[str] = "speaker",
        gallery: Gallery | Literal["enrolled"] | None = "enrolled",
        threshold: float | None = None,
        *,
        gate: str = "voice",
        latency: str = "normal",
        sure: float | None = None,
    ) -> None:
        loaded = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)
        names = [task] if isinstance(task, str) else list(task)
        if not names or len(set(names)) < len(names):
            raise InputError(f"expected each task once, got {', '.join(names) or 'none'}")
        self.student = CompiledStudent(loaded, names)
        self.student.on_failure = self._gpu_failed
        self.tasks = [self.student.branches[name].task for name in names]
        self.task = self.tasks[0]
        self._latency = preset(latency)
        self.segmentation = self._latency.segmentation(self.student.segmentation)
        self._gate = gate
        self._gallery = _known(loaded, self.tasks, gallery)
        self._given = threshold
        self._smoothing = Smoothing() if sure is None else Smoothing(sure=sure)
        for known in self.tasks:
            self._check_threshold(known)
        self._calibrated = {} if threshold is not None else _calibrated(loaded, self.tasks)
        people = len(self._gallery.names) if self._gallery else 0
        self.doubts = [doubt for known in self._calibrated.values() if (doubt := known.outgrown(people))]
        delay_seconds = make_gate(gate).delay_seconds
        self.algorithm_seconds = self._latency.seconds(self.segmentation, delay_seconds)
        self.statistics = Statistics(self.algorithm_seconds)

    def listen(self, source: Iterable[Block], *, passed: Callable[[str, float], None] | None = None) -> Iterator[Event]:
        """Events as they become ready, until the source ends. Each call begins anew and may run for ever.

        `passed` is told after every block, also in silence, how far its stream has come, in seconds.
        """
        self.statistics = Statistics(self.algorithm_seconds)
        streams: dict[str, _Stream] = {}
        waiting: list[_Waiting] = []
        received = time.perf_counter()
        for block in source:
            received = block.received_seconds
            if block.stream not in streams:
                streams[block.stream] = self._begin(block.stream)
            waiting += self._take(block, streams[block.stream])
            if waiting and (not block.more or len(waiting) >= self.student.max_batch):
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
            for task, tracker in stream.trackers:
                yield from self._events(stream, task, tracker.finish(), received)

    def _begin(self, name: str) -> _Stream:
        self.statistics.streams += 1
        segmenter = Segmenter(self.student.log_mel, self.segmentation, make_gate(self._gate))
        return _Stream(name, segmenter, [(task, self._tracker(task)) for task in self.tasks])

    def _tracker(self, task: Task) -> Tracker:
        branch = self.student.branches[task.name]
        tracker: Tracker
        if task.kind == "verification":
            known = self._calibrated.get(task.name)
            asked = known.threshold if known else None
            tracker, doubt = SpeakerTracker(branch, self._threshold(task), self._gallery, known=asked), UNKNOWN
        else:
            tracker, doubt = LabelTracker(branch, task, self._smoothing), UNSURE
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
        """Encode what waits, in batches, and tell what each stream makes of it."""
        most = self.student.max_batch
        for begin in range(0, len(waiting), most):
            batch = waiting[begin : begin + most]
            findings = self._findings(batch)
            self._count(batch)
            for item, found in zip(batch, findings, strict=True):
                for task, of_task in found:
                    yield from self._events(item.stream, task, of_task, item.received_seconds)

    def _findings(self, batch: list[_Waiting]) -> list[list[tuple[Task, list[Finding]]]]:
        spoken = [item for item in batch if item.segment.speech_share >= SPEECH_SHARE]
        embeddings: dict[int, NDArray[np.float32]] = {}
        if spoken:
            encoded = self.student.encode(np.stack([item.segment.log_mel for item in spoken]))
            embeddings = {id(item): encoded[row : row + 1] for row, item in enumerate(spoken)}
        for item in spoken:
            self._look_at_band(item)
        self.statistics.encoded += len(spoken)
        return [
            [(task, _hear(tracker, item.segment, embeddings.get(id(item)))) for task, tracker in item.stream.trackers]
            for item in batch
        ]

    def _look_at_band(self, item: _Waiting) -> None:
        if item.stream.band.hear(item.segment.log_mel):
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

    def _events(self, stream: _Stream, task: Task, findings: list[Finding], received_seconds: float) -> Iterator[Event]:
        for finding in findings:
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
        if task.kind == "verification" and not 0 < threshold <= 1:
            raise InputError(f"expected a threshold above 0 and at most 1 (a cosine), got {threshold}")


def _known(bundle: Bundle, tasks: Sequence[Task], gallery: Gallery | Literal["enrolled"] | None) -> Gallery | None:
    """The speakers that this student knows, if it compares voices."""
    if gallery is None or all(task.kind != "verification" for task in tasks):
        return None
    if not isinstance(gallery, Gallery):
        if gallery != "enrolled":
            raise InputError(f"expected known speakers, got {gallery!r}: pass gallery=Gallery.open({str(gallery)!r})")
        return Gallery.open(fingerprint=bundle.fingerprint)
    if gallery.names:
        gallery.check_student(bundle.fingerprint)
    return gallery


def _calibrated(bundle: Bundle, tasks: Sequence[Task]) -> dict[str, Calibration]:
    found = {task.name: load_calibration(bundle.path, bundle.fingerprint, task.name) for task in tasks}
    return {name: calibration for name, calibration in found.items() if calibration}


def _hear(tracker: Tracker, segment: Segment, embedding: NDArray[np.float32] | None) -> list[Finding]:
    return tracker.silence(segment) if embedding is None else tracker.speech(segment, embedding)
