"""student.pt and teacher.pt: plain dicts that torch.load(weights_only=True) reads. Anything else is refused, never unpickled."""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_lupi.bundle.provenance import Provenance
from edge_lupi.disk import kind_of, read_bounded, write_at_once, writing
from edge_lupi.errors import BundleError, InputError
from edge_lupi.frames import SAMPLE_RATE_HZ, Segmentation
from edge_lupi.models.plain_tensors import plain_tensors
from edge_lupi.models.rounding import convolutions, points
from edge_lupi.models.student import Student, StudentConfig
from edge_lupi.models.teacher import Teacher, TeacherConfig
from edge_lupi.task import Task

__all__ = [
    "STUDENT",
    "TEACHER",
    "TrainedStudent",
    "describe",
    "load_student",
    "load_teacher",
    "save_student",
    "save_teacher",
    "write_atomically",
]

STUDENT = "edge-lupi student"
TEACHER = "edge-lupi teacher"
VERSION = 1
MAX_BYTES = 1 << 28  # our largest student has 30 million bytes, the teacher less

GOLDEN_SAMPLES = 2 * SAMPLE_RATE_HZ


@dataclass(frozen=True)
class TrainedStudent:
    """A student with what belongs to it.

    `ranges` (empty before quantisation-aware fine-tuning) name the grid: `<point>` and `<convolution>.weight`, see
    `models.rounding`; they hold for the folded encoder. `speech` is int16 [T], recordings the compile stage judges by.
    `provenance` says where it all comes from: corpus, licence, speakers heard, recipe, versions. A change makes a new one;
    its network is torch's, which torch changes in place.
    """

    student: Student
    ranges: dict[str, Tensor] = field(default_factory=dict)
    speech: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int16))
    provenance: Provenance = field(default_factory=Provenance)

    def with_tasks(self, tasks: Sequence[Task], provenance: Provenance) -> TrainedStudent:
        """The same weights, whose tasks have other thresholds or temperatures, and say where those come from."""
        student = copy.copy(self.student)  # the parts are shared, the words about them are not
        student.config = replace(self.student.config, tasks=tuple(tasks))
        return replace(self, student=student, provenance=provenance)

    @property
    def golden_samples(self) -> NDArray[np.int16]:
        """The speech int16 [T] that goes into a bundle with what must be made of it; its level is that of training."""
        samples: NDArray[np.int16] = self.speech.numpy()[:GOLDEN_SAMPLES]
        return samples


def save_student(path: Path, trained: TrainedStudent) -> None:
    """Write student.pt at once or not at all."""
    student = trained.student
    config = asdict(student.config)
    folded = not any(isinstance(module, nn.BatchNorm2d) for module in student.encoder.modules())
    content = {
        "format": STUDENT,
        "version": VERSION,
        "config": config,
        "folded": folded,
        "state": {name: value.detach().cpu() for name, value in student.state_dict().items()},
        "ranges": {name: value.detach().cpu() for name, value in trained.ranges.items()},
        "speech": trained.speech,
        "provenance": trained.provenance.plain(),
    }
    write_atomically(path, content)


def load_student(path: str | Path) -> TrainedStudent:
    """Read student.pt. Raises BundleError where it is not one, is damaged or does not fit this version."""
    content = _read(path, STUDENT)
    with _said_of(path):
        provenance = Provenance.read(content["provenance"])
        config = dict(content["config"])
        tasks = tuple(_task(entry) for entry in config["tasks"])
        student = Student(
            StudentConfig(config["size"], config["setting"], Segmentation(**config["segmentation"]), tasks)
        )
        if content["folded"]:
            _make_folded(student)
        student.load_state_dict(content["state"])
        ranges = {str(name): value.float() for name, value in content["ranges"].items()}
        expected = {name for name, _ in points(student.encoder)} | {
            f"{n}.weight" for n, _ in convolutions(student.encoder)
        }
        if ranges and set(ranges) != expected:
            raise ValueError("its quantisation ranges belong to another network")
        speech = content["speech"]
        if (speech.dtype, speech.ndim) != (torch.int16, 1):
            raise ValueError("its speech is not int16 [T]")
        return TrainedStudent(student.eval(), ranges, speech, provenance)


def save_teacher(path: Path, teacher: Teacher, provenance: Provenance) -> None:
    """Write teacher.pt at once or not at all."""
    state = {name: value.detach().cpu() for name, value in teacher.state_dict().items()}
    config = asdict(teacher.config)
    write_atomically(
        path,
        {"format": TEACHER, "version": VERSION, "config": config, "state": state, "provenance": provenance.plain()},
    )


def load_teacher(path: str | Path) -> tuple[Teacher, Provenance]:
    """Read teacher.pt and its provenance."""
    content = _read(path, TEACHER)
    with _said_of(path):
        provenance = Provenance.read(content["provenance"])
        config = dict(content["config"])
        config |= {"segmentation": Segmentation(**config["segmentation"]), "task": _task(config["task"])}
        teacher = Teacher(TeacherConfig(**config))
        teacher.load_state_dict(content["state"])
        return teacher.eval(), provenance


def describe(path: str | Path) -> str:
    """STUDENT or TEACHER."""
    return str(_read(path, STUDENT, TEACHER)["format"])


def write_atomically(path: Path, content: Mapping[str, Any]) -> None:
    """torch.save, at once or not at all."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    with writing(path, "nothing was changed; free some space or choose another folder"):
        write_at_once(path, buffer.getvalue())


class _said_of:
    """Turn whatever a damaged file provokes into one sentence about the file."""

    def __init__(self, path: str | Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(
            error, (KeyError, TypeError, ArithmeticError, ValueError, RuntimeError, AttributeError, InputError)
        ):
            reason = str(error).splitlines()[0][:160]
            raise BundleError(
                f"{self.path} is damaged or of another version ({reason}): train or copy it anew"
            ) from error


def _read(path: str | Path, *formats: str) -> dict[str, Any]:
    path = Path(path)
    kind = " or ".join(name.rsplit(" ", 1)[-1] for name in formats)
    try:
        if kind_of(path) != "file":
            raise BundleError(f"expected a {kind} file, got {path}, which is not a file: make one with edge-lupi train")
        data = read_bounded(path, MAX_BYTES, f"a {kind}")
    except InputError as error:
        raise BundleError(str(error), options=error.options) from error
    try:
        content = plain_tensors(data)
    except Exception as error:  # hostile or damaged: torch, zip and pickle raise many kinds
        raise BundleError(
            f"{path} is not a {kind} of edge-lupi (it does not hold plain tensors, or is damaged): it was not opened further"
        ) from error
    if not isinstance(content, dict) or content.get("format") not in formats:
        got = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise BundleError(f"expected a {kind} of edge-lupi in {path}, got {got!r}: make one with edge-lupi train")
    if content.get("version") != VERSION:
        raise BundleError(
            f"expected {kind} version {VERSION}, got {content.get('version')} in {path}: train it with this edge-lupi"
        )
    return content


def _task(entry: Mapping[str, Any]) -> Task:
    return Task(**{**entry, "labels": tuple(entry["labels"])})


def _make_folded(student: Student) -> None:
    student.encoder.fold()
