"""The [student] section: size, optimisation and beginning of the network that only hears."""

from __future__ import annotations

from dataclasses import dataclass

from edge_lupi.errors import InputError
from edge_lupi.settings import within
from edge_lupi.train.recipe.course import Course

__all__ = ["StudentRecipe"]

KEPT = ("last", "best")


@dataclass(frozen=True)
class StudentRecipe(Course):
    """The network that only hears. `margin` holds for verification tasks, `smoothing` of the labels for classes.

    `labels` weighs them beside the teachers; with 0 only they teach. `keep` is the "last" epoch's student, or the "best" one's
    on the validation speakers: nearest to teachers that are asked for every crop or, without, of the least EER. `start_from` names the
    student.pt whose weights it begins with, `frozen` parts of it that stay as they are, as "encoder" or "encoder.stem". With
    `keep_tasks` it keeps that student's tasks: one student of all tasks, with one encoder, which must be frozen.
    """

    size: str = "nano"
    margin: float = 0.2
    smoothing: float = 0.1
    labels: float = 1.0
    keep: str = "last"
    start_from: str = ""
    frozen: tuple[str, ...] = ()
    keep_tasks: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep not in KEPT:
            raise InputError(f"expected student.keep {' or '.join(KEPT)}, got {self.keep!r}")
        within(self, "student", margin=(0, 3), smoothing=(0, 1), labels=(0, 1000))
