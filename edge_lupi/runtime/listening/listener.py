"""A listener: bundles and settings in; runs out, each of which turns Blocks of sound into Events.

for event in Listener("speaker.lupi").listen(Microphone()): ...

Enrolled people are called by their names, from the same file as `edge-lupi listen` reads. Several bundles listen to the same
stream: its gate is asked once, its log-mel is computed once where theirs is the same, and what they decide at the same moment
comes in the order of time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.bundle.calibration import Calibration, load_calibration
from edge_lupi.bundle.threshold import Threshold
from edge_lupi.errors import InputError
from edge_lupi.events import Event
from edge_lupi.frames import Segmentation
from edge_lupi.runtime.gates.gate import Gate
from edge_lupi.runtime.gates.make import make_gate
from edge_lupi.runtime.listening.ears import Ear, ears_of
from edge_lupi.runtime.listening.latency import latency as preset
from edge_lupi.runtime.listening.listening import Listening
from edge_lupi.runtime.listening.statistics import Statistics
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.speakers.gallery import Gallery
from edge_lupi.runtime.trackers.label import LabelTracker, Smoothing
from edge_lupi.runtime.trackers.speaker import SpeakerTracker
from edge_lupi.runtime.trackers.tracker import Tracker
from edge_lupi.runtime.trackers.voice import Voices
from edge_lupi.runtime.trackers.whole import WholeTracker
from edge_lupi.task import DEFAULT_THRESHOLD, Task

__all__ = ["Listener"]


class Listener:
    """A student that listens for a task, or for several at once: those of its bundle, or of several bundles side by side.

    Without `task`, each bundle is asked for its first one. `threshold` is of tasks that compare voices, `sure` of those
    with labels. `segmentations` are the segments by task, `gallery` the known speakers, `student` is the first bundle's.

    `gallery` are the known speakers: without it those of `edge-lupi enroll` (`Gallery.open()`), as `edge-lupi listen` has
    them; with None nobody is known and all are numbered. Raises InputError where they are of another student.
    `threshold` stands for the bundle's own where given; what `edge-lupi calibrate` kept stands for it towards enrolled
    people where it is not. `gate` is `voice` or `energy`, `latency` is `low` or
    `normal`. `sure` is the probability below which a label is `unsure` (see `label.Smoothing`). `doubts` are sentences
    about what was calibrated and no longer holds. `statistics` are those of the run that began last; each `Listening` has its own.
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
        names = [one.task().name for one in bundles] if task is None else [task] if isinstance(task, str) else task
        self.ears = ears_of(bundles, names, self._latency)
        by_name = {one.name: one for ear in self.ears for one in ear.tasks}
        self.tasks = [by_name[name] for name in names]
        self.student = self.ears[0].student
        self.segmentations: Mapping[str, Segmentation] = {
            one.name: ear.segmentation for ear in self.ears for one in ear.tasks
        }
        self._gate = gate
        self.gallery = _people(self.ears, gallery)
        self._given = threshold
        self._smoothing = Smoothing() if sure is None else Smoothing(sure=sure)
        for one in self.tasks:
            self._check_threshold(one)
        self._calibrated = {} if threshold is not None else _calibrated(self.ears)
        people = len(self.gallery.names) if self.gallery else 0
        self.doubts = [doubt for calibration in self._calibrated.values() if (doubt := calibration.outgrown(people))]
        self.doubts += self._without_threshold() if people else []
        delay_seconds = make_gate(gate).delay_seconds
        self.algorithm_seconds = max(self._latency.seconds(ear.segmentation, delay_seconds) for ear in self.ears)
        self.statistics = Statistics(self.algorithm_seconds)

    @property
    def task(self) -> Task:
        """The first one."""
        return self.tasks[0]

    @property
    def segmentation(self) -> Segmentation:
        """The first task's segments."""
        return self.segmentations[self.task.name]

    def begin(self, gate: Callable[[], Gate] | None = None, *, one_voice: bool = False) -> Listening:
        """A run of its own, for a program that pushes blocks itself. `gate` makes a stream's gate, where it is to be another.

        With `one_voice` all that is said is taken for one person's, as in a command: see `trackers.whole`.
        """
        listening = Listening(
            self.ears,
            self._trackers_of_one_voice if one_voice else self._trackers,
            gate=gate or (lambda: make_gate(self._gate)),
            algorithm_seconds=self.algorithm_seconds,
        )
        self.statistics = listening.statistics
        return listening

    def listen(self, source: Iterable[Block], *, passed: Callable[[str, float], None] | None = None) -> Iterator[Event]:
        """The events of a run over all blocks of a source, as they become ready; see `Listening.listen`. It may run for ever."""
        return self.begin().listen(source, passed=passed)

    def _trackers(self) -> dict[str, Tracker]:
        """Those of one stream, by task."""
        return {task.name: self._tracker(ear, task) for ear in self.ears for task in ear.tasks}

    def _trackers_of_one_voice(self) -> dict[str, Tracker]:
        """The same where all that is said is one person's."""
        whole: dict[str, Tracker] = {
            task.name: WholeTracker(
                ear.branches[task.name], self.gallery, self.of_people(task) or Threshold.constant(self.threshold(task))
            )
            for ear in self.ears
            for task in ear.tasks
            if task.verifies
        }
        return {**self._trackers(), **whole}

    def _tracker(self, ear: Ear, task: Task) -> Tracker:
        branch = ear.branches[task.name]
        if task.verifies:
            of_people = self.of_people(task)
            return SpeakerTracker(branch, self.threshold(task), self.gallery, of_people=of_people)
        return LabelTracker(branch, task, self._smoothing, self._voices(ear, task))

    def _voices(self, ear: Ear, task: Task) -> Voices:
        """What enrolled people's voices usually are to a task with labels, as far as `enroll` kept it."""
        people = self.gallery if task.voice else None
        return Voices(people.averages(ear.bundle.fingerprint) if people else None)

    def _without_threshold(self) -> list[str]:
        """A sentence for each task whose cosine nobody has set: known people's names may then go to strangers."""
        if self._given is not None:
            return []
        return [
            f"nobody has set a threshold for {task.name}, so a cosine of {DEFAULT_THRESHOLD} is asked for and strangers may be "
            "called by known names: set one with edge-lupi calibrate"
            for task in self.tasks
            if task.verifies and task.threshold is None and task.name not in self._calibrated
        ]

    def threshold(self, task: Task) -> float:
        """The cosine above which two voices are one."""
        own = DEFAULT_THRESHOLD if task.threshold is None else task.threshold
        return own if self._given is None else self._given

    def of_people(self, task: Task) -> Threshold | None:
        """The cosine that known people must reach, where it was calibrated."""
        calibration = self._calibrated.get(task.name)
        return calibration.threshold if calibration else None

    def _check_threshold(self, task: Task) -> None:
        threshold = self.threshold(task)
        if task.verifies and not 0 < threshold <= 1:
            raise InputError(f"expected a threshold above 0 and at most 1 (a cosine), got {threshold}")


def _people(ears: Sequence[Ear], gallery: Gallery | Literal["enrolled"] | None) -> Gallery | None:
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
    calibrations = {name: load_calibration(bundle.path, bundle.fingerprint, name) for bundle, name in asked}
    return {name: calibration for name, calibration in calibrations.items() if calibration}
