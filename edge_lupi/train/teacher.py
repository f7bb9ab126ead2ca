"""Train the teacher: it hears and sees, and learns from labels alone. Recipe -> teacher.pt."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_lupi.models.files import save_teacher
from edge_lupi.models.student import Heard
from edge_lupi.models.teacher import FeatureEye, Teacher, TeacherConfig
from edge_lupi.train.augment import disturbed_segments
from edge_lupi.train.corpus import Prepared
from edge_lupi.train.examples import Batch, Epochs, Example, load_examples
from edge_lupi.train.loop import Run, fit, make_fabric
from edge_lupi.train.recipe import Recipe
from edge_lupi.train.student import margin_header

__all__ = ["train_teacher"]


class _Learning(nn.Module):
    def __init__(self, teacher: Teacher, header: nn.Module | None) -> None:
        super().__init__()
        self.teacher = teacher
        self.header = header

    def forward(self, segments: Tensor, video: Tensor | None, labels: Tensor) -> Tensor:
        heard: Heard = self.teacher(segments, video)
        if self.header is not None:
            return F.cross_entropy(self.header(heard.utterance, labels), labels)
        assert heard.scores is not None
        return F.cross_entropy(heard.scores, labels, label_smoothing=0.1)


def train_teacher(recipe: Recipe, prepared: Prepared, folder: Path) -> Path:
    """Train by the recipe; the checkpoint in `folder` is taken up where it stopped."""
    fabric = make_fabric()
    fabric.seed_everything(recipe.seed, verbose=False)
    examples = load_examples(prepared.split.train, prepared.classes, recipe, video=recipe.teacher.video)
    teacher = Teacher(_config(recipe, prepared, examples))
    if isinstance(teacher.eye, FeatureEye):
        teacher.eye.standardise(torch.stack([e.video[0] for e in examples if e.video is not None]))
    module = _Learning(teacher, margin_header(recipe, prepared, teacher.embedding_size))

    def losses(module: nn.Module, batch: Batch, random: torch.Generator) -> dict[str, Tensor]:
        segments = disturbed_segments(batch.samples, recipe, random)
        return {"label": module(segments, batch.video, batch.labels)}

    run = Run(
        folder / "teacher.checkpoint",
        {"stage": "teacher", "recipe": recipe.plain(), "names": [e.name for e in examples]},
    )
    epochs = Epochs(examples, recipe.segments, recipe.teacher.batch, recipe.seed, fabric.global_rank, fabric.world_size)
    fit(fabric, module, recipe.teacher, run, epochs, losses, seed=recipe.seed, steps=epochs.steps)
    path = folder / "teacher.pt"
    if fabric.is_global_zero:
        save_teacher(path, teacher.eval(), prepared.provenance(recipe))
    return path


def _config(recipe: Recipe, prepared: Prepared, examples: list[Example]) -> TeacherConfig:
    video = examples[0].video
    kind = recipe.teacher.video
    return TeacherConfig(
        size=recipe.teacher.size,
        setting=recipe.segments.setting,
        segmentation=recipe.segments.segmentation,
        task=prepared.task,
        video=kind,
        features=video.shape[-1] if video is not None and kind == "features" else 0,
        frames=video.shape[1] if video is not None and kind == "frames" else 0,
        frame_size=video.shape[-1] if video is not None and kind == "frames" else 0,
    )
