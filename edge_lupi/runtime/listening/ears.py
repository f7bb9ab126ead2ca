"""Tasks and their students: bundles in, ears out, each with its tasks and how it wants the stream cut.

A task falls to the first bundle that knows it, and every bundle must have one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_lupi.bundle.bundle import Bundle, shipped_bundle
from edge_lupi.errors import InputError
from edge_lupi.frames import Segmentation
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.listening.latency import Latency
from edge_lupi.runtime.segments import LogMel
from edge_lupi.runtime.trackers.tracker import Aggregator, Array
from edge_lupi.task import Task

__all__ = ["Ear", "bundles_for", "ear_of", "ears_of"]


@dataclass(frozen=True, eq=False)
class Ear:
    """A student, the tasks that it listens for, and its segments; `log_mel` is another ear's where theirs is the same.

    `encode` makes segment embeddings [B, D] of log-mel [B, 80, 1, frames] and their levels [B] in dB; `branches` are the aggregators by task.
    """

    student: CompiledStudent
    tasks: tuple[Task, ...]
    segmentation: Segmentation
    log_mel: LogMel
    encode: Callable[[Array, Sequence[float]], Array]
    branches: Mapping[str, Aggregator]

    @property
    def bundle(self) -> Bundle:
        """What the student came from."""
        return self.student.bundle


def bundles_for(
    paths: Sequence[str | Path], tasks: Sequence[str] = (), signed_by: Path | None = None
) -> tuple[list[Bundle], list[str]]:
    """The bundles named, or those that come with edge-lupi for the tasks; and the tasks, or those that go without saying.

    These are the first of each bundle named, and otherwise `speaker`. `signed_by`: see `Bundle.load`.
    """
    wanted = list(paths) or [shipped_bundle(task) for task in tasks or ["speaker"]]
    bundles = [Bundle.load(path, signed_by) for path in dict.fromkeys(Path(path) for path in wanted)]
    return bundles, list(tasks) or [bundle.task().name for bundle in bundles]


def ear_of(student: CompiledStudent, latency: Latency | None = None, log_mel: LogMel | None = None) -> Ear:
    """The ear of a student for all of its tasks, at its own hop unless told otherwise."""
    segmentation = (latency or Latency()).segmentation(student.segmentation)
    return Ear(student, student.tasks, segmentation, log_mel or student.log_mel, student.encode, student.branches)


def ears_of(bundles: Sequence[Bundle], tasks: Sequence[str], latency: Latency) -> list[Ear]:
    """An ear for each bundle."""
    if not tasks or len(set(tasks)) < len(tasks):
        raise InputError(f"expected each task once, got {', '.join(tasks) or 'none'}")
    owners = {task: _owner(bundles, task) for task in tasks}
    ears = list[Ear]()
    for bundle in bundles:
        own = [task for task in tasks if owners[task] is bundle]
        if not own:
            raise InputError(
                f"expected a task for every bundle, got none that falls to {bundle.path.name}, which knows "
                f"{', '.join(bundle.tasks)}: ask for one of these too, or leave the bundle out"
            )
        student = CompiledStudent(bundle, own)
        same = next((ear.log_mel for ear in ears if ear.student.front_end == student.front_end), None)
        ears.append(ear_of(student, latency, same))
    return ears


def _owner(bundles: Sequence[Bundle], task: str) -> Bundle:
    if not bundles:
        raise InputError("expected a bundle to listen with, got none")
    owner = next((bundle for bundle in bundles if task in bundle.tasks), None)
    if owner is None and len(bundles) > 1:
        each = ", ".join(f"{bundle.path.name} ({', '.join(bundle.tasks)})" for bundle in bundles)
        raise InputError(f"expected a bundle for task {task} among those named, got {each}: name one that knows it too")
    if owner is None:
        bundles[0].task(task)  # says what it knows
    return owner or bundles[0]
