"""Teacher training: it hears and sees, and learns from labels alone. Recipe -> teacher.pt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from edge_lupi.errors import InputError
from edge_lupi.models.faces import any_face
from edge_lupi.models.files import save_teacher
from edge_lupi.models.header import MarginHeader
from edge_lupi.models.student import Heard
from edge_lupi.models.teacher import FEATURES, FeatureEye, Teacher, TeacherConfig
from edge_lupi.train.distil.learning import margin_header
from edge_lupi.train.distil.losses import Labels, label_loss, labels_of
from edge_lupi.train.examples.augment import disturbed_segments
from edge_lupi.train.examples.batch import Batch
from edge_lupi.train.examples.clips import Example
from edge_lupi.train.examples.draw import Draw
from edge_lupi.train.examples.epochs import Epochs
from edge_lupi.train.examples.prepared import Prepared
from edge_lupi.train.loop import Run, begin, fit
from edge_lupi.train.recipe import Recipe

__all__ = ["train_teacher"]

STANDARD_EXAMPLES = 10_000  # at least, where there are as many, give the features' mean and spread


class _Learning(nn.Module):
    def __init__(self, teacher: Teacher, header: MarginHeader | None) -> None:
        super().__init__()
        self.teacher = teacher
        self.header = header

    def forward(self, segments: Tensor, video: Tensor | None, labels: Labels) -> Tensor:
        heard: Heard = self.teacher(segments, video)
        return label_loss(heard, self.header, labels)


def train_teacher(recipe: Recipe, prepared: Prepared, folder: Path) -> Path:
    """Train by the recipe; the checkpoint in `folder` is taken up where it stopped."""
    if recipe.data.sound != "log-mel":
        raise InputError(
            f'expected data.sound = "log-mel" for a teacher, which looks at the video of segments, got {recipe.data.sound!r}: set it'
        )
    fabric = begin(recipe.teacher, recipe.seed)
    examples = prepared.examples(recipe, recipe.teacher.video)
    if recipe.sight().finds_faces and not any(any_face(example.video) for example in examples):
        raise InputError(
            f"expected a face in some video of {prepared.corpus.name}, got none in {len(examples)} clips: look at one, or set teacher.video to none"
        )
    teacher = Teacher(_config(recipe, prepared, examples))
    _standardise(teacher, examples, recipe)
    module = _Learning(teacher, margin_header(recipe, prepared, teacher.embedding_size))

    def losses(module: nn.Module, batch: Batch, draw: Draw) -> dict[str, Tensor]:
        mixed = batch.mixed()
        segments = disturbed_segments(mixed.frames, recipe, draw)
        return {"label": module(segments, mixed.video, labels_of(batch))}

    run = Run(folder, "teacher", recipe.teacher, recipe.seed, _identity(recipe, prepared, examples))
    course, augment = recipe.teacher, recipe.augment
    rank, world = fabric.global_rank, fabric.world_size
    epochs = Epochs(examples, recipe.segments, course.batch, recipe.seed, augment.mixup, rank, world)
    fit(fabric, module, run, epochs, losses)
    path = folder / "teacher.pt"
    if fabric.is_global_zero:
        provenance = replace(prepared.provenance(recipe), faces=recipe.sight().face_digest())
        save_teacher(path, teacher.eval(), provenance)
    return path


def _standardise(teacher: Teacher, examples: Sequence[Example], recipe: Recipe) -> None:
    """Give an eye for features the mean and spread of the training corpus, in place."""
    if isinstance(teacher.eye, FeatureEye):
        some = examples[:: max(1, len(examples) // STANDARD_EXAMPLES)]
        firsts = slice(None if recipe.teacher.video == "face" else 1)  # a face moves, most features stand still
        teacher.eye.standardise(torch.cat([video[firsts] for video in (e.video for e in some) if video is not None]))


def _identity(recipe: Recipe, prepared: Prepared, examples: Sequence[Example]) -> dict[str, object]:
    faces = recipe.sight().face_digest()
    return {
        "stage": "teacher",
        "recipe": recipe.plain(),
        "names": [e.name for e in examples],
        "learnt_from": prepared.digest,
        **({"faces": faces} if faces else {}),
    }


def _config(recipe: Recipe, prepared: Prepared, examples: Sequence[Example]) -> TeacherConfig:
    video = examples[0].video
    kind = recipe.teacher.video
    return TeacherConfig(
        size=recipe.teacher.size,
        setting=recipe.segments.setting,
        segmentation=recipe.segments.segmentation,
        task=prepared.task,
        video=kind,
        features=video.shape[-1] if video is not None and kind in FEATURES else 0,
        frames=video.shape[1] if video is not None and kind == "frames" else 0,
        frame_size=video.shape[-1] if video is not None and kind == "frames" else 0,
    )
