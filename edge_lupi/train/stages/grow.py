"""Multi-task growth: a new task's branch on a trained student's frozen encoder. Two students -> one of all tasks.

The encoder is the older student's to the bit, and so are its int8 ranges, its branches and the speech whose level it knows:
what it predicted before it predicts as before. Each branch says for itself where it comes from, and under which licence.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from edge_lupi.errors import InputError
from edge_lupi.models.files import TrainedStudent
from edge_lupi.models.student import Student
from edge_lupi.runtime.level import Level
from edge_lupi.sound.audio import from_pcm
from edge_lupi.train.recipe import Recipe
from edge_lupi.train.stages.start import Start

__all__ = ["check_growth", "grown", "on_its_encoder", "raised"]


def check_growth(recipe: Recipe, start: Start | None) -> None:
    """Raise InputError where a recipe's student cannot grow on the one that it begins with."""
    if not recipe.student.keep_tasks:
        return
    if start is None or "encoder" not in recipe.student.frozen:
        raise InputError(
            'expected student.start_from and student.frozen = ["encoder"] beside student.keep_tasks: what it was trained for holds only while it stays as it is'
        )
    config, cut = start.trained.student.config, recipe.segments
    if (config.setting, config.segmentation) != (cut.setting, cut.segmentation):
        raise InputError(
            f"expected segments of {config.segmentation.seconds} s every {config.segmentation.hop_seconds} s, {config.setting}, as {start.path} has them, got {cut.seconds} s every {cut.hop_seconds} s, {cut.setting}: one encoder hears for all tasks"
        )
    if recipe.data.task in (task.name for task in config.tasks):
        raise InputError(
            f"expected a task that {start.path} does not know yet, got {recipe.data.task}: leave out student.keep_tasks to teach it again"
        )


def on_its_encoder(new: TrainedStudent, start: Start) -> TrainedStudent:
    """The new student with what belongs to the encoder: its int8 ranges, and the speech whose level it knows."""
    return replace(new, ranges=start.trained.ranges, speech=start.trained.speech)


def raised(segments: Tensor, start: Start) -> Tensor:
    """log-mel [B, S, 80, 1, F], the quiet ones as loud as the encoder was taught with: as the device gives them to a branch."""
    level = Level(from_pcm(start.trained.golden_samples))
    heard = level.raised(segments.flatten(0, 1).cpu().numpy())
    return torch.from_numpy(np.ascontiguousarray(heard)).to(segments.device).view_as(segments)


def grown(old: TrainedStudent, new: TrainedStudent) -> TrainedStudent:
    """One student of all tasks of both, those of the old one first; their encoders are the same."""
    config = replace(old.student.config, tasks=(*old.student.config.tasks, *new.student.config.tasks))
    student = Student(config)
    student.encoder = copy.deepcopy(old.student.encoder)
    for one in (old.student, new.student):
        for task in one.config.tasks:
            student.branch(task.name).load_state_dict(one.branch(task.name).state_dict())
    branches = {task.name: of.provenance.of(task.name) for of in (old, new) for task in of.student.config.tasks}
    provenance = replace(old.provenance, branches=branches)
    every = [part for licence in provenance.licences.values() for part in licence.split("; ")]
    provenance = replace(provenance, licence="; ".join(dict.fromkeys(every)))
    return replace(old, student=student.eval(), provenance=provenance)
