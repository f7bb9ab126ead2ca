"""student.pt and teacher.pt as answerers: samples float32 [T] -> Answer, for evaluation on the workstation."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_lupi.bundle.provenance import Provenance
from edge_lupi.data.faces import FACE_MODEL
from edge_lupi.data.utterance import Utterance
from edge_lupi.errors import InputError
from edge_lupi.evaluate.answers import Answer, Answerer, Model
from edge_lupi.models.files import TEACHER, TrainedStudent, describe, load_student, load_teacher
from edge_lupi.models.front_end import cut_samples
from edge_lupi.models.rounding import fix_ranges
from edge_lupi.models.sight import as_seen, same_faces, sight_of_training, video_of
from edge_lupi.models.student import Heard
from edge_lupi.models.teacher import Teacher
from edge_lupi.runtime.level import Level
from edge_lupi.sound.audio import from_pcm

__all__ = ["open_trained", "student_answerer", "teacher_answerer"]


def open_trained(path: Path, task: str | None) -> Model:
    """student.pt or teacher.pt, whichever it is."""
    if describe(path) == TEACHER:
        teacher, provenance = load_teacher(path)
        return Model(teacher_answerer(teacher, provenance), teacher.config.task, provenance)
    trained = load_student(path)
    tasks = {one.name: one for one in trained.student.config.tasks}
    if task is not None and task not in tasks:
        raise InputError(f"expected a task of {path} ({', '.join(tasks)}), got {task!r}")
    chosen = tasks[task] if task else trained.student.config.tasks[0]
    return Model(student_answerer(trained, chosen.name), chosen, trained.provenance.of(chosen.name))


def student_answerer(trained: TrainedStudent, task: str | None = None) -> Answerer:
    """The student as it is, on the int8 grid if it has ranges; quiet speech is raised as on the device."""
    student, level = trained.student.eval(), Level(from_pcm(trained.golden_samples))
    if trained.ranges:
        fix_ranges(student.encoder.fold(), trained.ranges)

    @torch.no_grad()
    def answer(samples: NDArray[np.float32], utterance: Utterance | None) -> Answer:
        segments = cut_samples(samples, student.config.segmentation)
        return _answer(student(torch.from_numpy(level.raised(segments[0].numpy()))[None], task))

    return answer


def teacher_answerer(teacher: Teacher, provenance: Provenance) -> Answerer:
    """The teacher, which looks at the utterance's video."""
    trained = sight_of_training(teacher.config, provenance)
    sight = same_faces(trained, provenance, os.environ.get(FACE_MODEL, ""))  # on this machine it may lie elsewhere
    config = teacher.config

    @torch.no_grad()
    def answer(samples: NDArray[np.float32], utterance: Utterance | None) -> Answer:
        segments = cut_samples(samples, config.segmentation)
        video: Tensor | None = None
        if config.video != "none":
            if utterance is None:
                raise InputError(
                    "expected video beside every recording, got trials, which name none: measure a student"
                )
            video = as_seen(video_of(utterance, segments.shape[1], sight))[None]
        return _answer(teacher(segments, video))

    return answer


def _answer(heard: Heard) -> Answer:
    return Answer(heard.utterance[0].numpy(), None if heard.scores is None else heard.scores[0].numpy())
