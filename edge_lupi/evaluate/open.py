"""Open what is to be measured: a bundle folder, student.pt or teacher.pt in, a Model that answers out."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.data.digest import file_digest
from edge_lupi.data.utterance import Utterance
from edge_lupi.errors import MissingExtra
from edge_lupi.evaluate.answers import Answer, Model
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.vectors import Array

__all__ = ["open_model"]


def open_model(path: Path, task: str | None = None) -> Model:
    """A bundle folder, student.pt or teacher.pt."""
    if path.suffix != ".pt":
        return _open_bundle(path, task)
    if find_spec("torch") is None:
        raise MissingExtra("evaluate of a .pt file", "PyTorch", "train")
    from edge_lupi.evaluate.trained import open_trained

    return replace(open_trained(path, task), digest=file_digest(path))


def _open_bundle(path: Path, task: str | None) -> Model:
    bundle = Bundle.load(path)
    student = CompiledStudent(bundle, task)

    def answer(samples: Array, utterance: Utterance | None) -> Answer:
        step = student.utterance(samples)
        return Answer(step.embedding[0], None if step.scores is None else step.scores[0])

    return Model(answer, student.task, bundle.provenance.of(student.task.name), bundle.fingerprint)
