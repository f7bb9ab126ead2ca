"""Task: what a student can answer, as who speaks or in what emotion. A name, its kind, labels, threshold and temperature.

The kind is decided here and nowhere else: whoever needs it asks `task.verifies`, or `verifies(name)` before there is a task.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, get_args

from edge_lupi.errors import InputError
from edge_lupi.words import number, printable

__all__ = [
    "DEFAULT_THRESHOLD",
    "MOST_PRIOR_CLIPS",
    "VERIFICATION_TASKS",
    "Task",
    "TaskKind",
    "is_task_name",
    "kind_of_task",
    "speaker_task",
    "verifies",
]

TaskKind = Literal["verification", "classification"]

DEFAULT_THRESHOLD = 0.4  # the cosine asked for where a student brings none
VERIFICATION_TASKS = ("speaker",)  # in which voices are compared; every other task has labels
MAX_LABELS = 10_000
LONGEST_LABEL = 200
MOST_PRIOR_CLIPS = 1000  # that the mean of all voices is worth
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")


@dataclass(frozen=True)
class Task:
    """One thing a student can tell: verification compares two voices, classification gives one of `labels`.

    `threshold` is the cosine above which two voices count as one; `temperature` divides the scores before softmax. Where
    `voice` is above 0, labels are told from how an utterance differs from what its voice was so far: the branch carries
    that on, and `voice` is how many clips the mean of all voices is worth beside it. Raises InputError for anything else.
    """

    name: str
    kind: TaskKind
    labels: tuple[str, ...] = ()
    threshold: float | None = None
    temperature: float = 1.0
    voice: float = field(default=0.0, repr=False)  # a student's fingerprint holds the repr, which stays what it was

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not is_task_name(self.name):
            raise InputError(f"expected a task name of lower-case letters, digits and dashes, got {_shown(self.name)}")
        if self.kind not in get_args(TaskKind):
            raise InputError(f"expected task kind {' or '.join(get_args(TaskKind))}, got {_shown(self.kind)}")
        if not all(isinstance(label, str) and 0 < len(label) <= LONGEST_LABEL for label in self.labels):
            raise InputError(
                f"expected labels of 1 to {LONGEST_LABEL} letters for task {self.name}, got something else"
            )
        if len(self.labels) > MAX_LABELS or (self.classifies and len(self.labels) < 2):
            raise InputError(
                f"expected at least two labels and at most {MAX_LABELS} for task {self.name}, got {len(self.labels)}"
            )
        try:
            number(self.threshold or 0.0, -1, 1)
            number(self.temperature, 1e-6, 1e6)
            number(self.voice, 0, MOST_PRIOR_CLIPS if self.classifies else 0)
        except ValueError as error:
            raise InputError(
                f"task {self.name} has a threshold, temperature or voice that is none ({error})"
            ) from error

    @property
    def verifies(self) -> bool:
        """Whether voices are compared, and there is a threshold instead of labels."""
        return self.kind == "verification"

    @property
    def classifies(self) -> bool:
        """Whether there are labels, and scores for them."""
        return not self.verifies


class HasTasks(Protocol):
    """What `speaker_task` needs of a bundle."""

    @property
    def path(self) -> Path:
        """Where it lies."""

    @property
    def tasks(self) -> Mapping[str, Task]:
        """By name."""


def kind_of_task(name: str) -> TaskKind:
    """The kind that a task of this name has when a student is trained for it."""
    return "verification" if name in VERIFICATION_TASKS else "classification"


def verifies(name: str | None) -> bool:
    """Whether voices are compared in a task of this name."""
    return name is not None and kind_of_task(name) == "verification"


def is_task_name(name: str) -> bool:
    """Whether a task can have this name."""
    return _NAME.fullmatch(name) is not None


def speaker_task(bundle: HasTasks) -> Task:
    """The task of a bundle that compares voices. Raises InputError where it has none."""
    task = next((task for task in bundle.tasks.values() if task.verifies), None)
    if task is None:
        raise InputError(
            f"expected a bundle for speakers, got {bundle.path.name}, which knows {', '.join(bundle.tasks)}"
        )
    return task


def _shown(value: object) -> str:
    return printable(repr(value))[:60]
