"""The teacher: it hears and sees. log-mel segments [B, S, 80, 1, F] and video per segment -> the same as a student gives.

Video comes as feature vectors [B, S, V] or as grey frames [B, S, N, H, W] in [0, 1]; what was not seen is NaN in the
former, a black frame in the latter. Hearing and sight are fused in
every segment, so the teacher has an embedding per segment and per utterance for the student to imitate.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edge_lupi.errors import InputError
from edge_lupi.frames import Segmentation
from edge_lupi.models.encoder import make_encoder
from edge_lupi.models.student import Heard, TaskBranch
from edge_lupi.task import Task

__all__ = ["FEATURES", "Teacher", "TeacherConfig"]


FEATURES = ("features", "face")  # kinds of video that are vectors


@dataclass(frozen=True)
class TeacherConfig:
    """`video` is none, features or face (both of width V) or frames (N frames of H = W = frame_size a segment)."""

    size: str
    setting: str
    segmentation: Segmentation
    task: Task
    video: str = "none"
    features: int = 0
    frames: int = 0
    frame_size: int = 0

    def __post_init__(self) -> None:
        if self.video not in ("none", *FEATURES, "frames"):
            raise InputError(f"expected teacher video none, {', '.join(FEATURES)} or frames, got {self.video!r}")
        for name, most in (("features", 1 << 14), ("frames", 1 << 10), ("frame_size", 1 << 9)):
            if type(getattr(self, name)) is not int or not 0 <= getattr(self, name) <= most:
                raise InputError(f"expected {name} of a teacher from 0 to {most}, got {getattr(self, name)!r:.40}")


class FeatureEye(nn.Module):
    """Feature vectors -> embedding. Standardised by the training corpus, with dropout: they are few and telling.

    What is NaN, as no face was seen, is as in the mean of the corpus; where all is, the embedding is zero.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))
        self.net = nn.Sequential(
            nn.Dropout(0.2),
            nn.Linear(width, 128),
            nn.BatchNorm1d(128),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(128, size),
        )

    def standardise(self, features: Tensor) -> None:
        """Take mean and spread from training features [N, V], as far as they are numbers."""
        seen = ~features.isnan()
        filled = torch.where(seen, features, features.nanmean(0).nan_to_num())
        self.mean.copy_(filled.mean(0))
        self.spread.copy_((filled.std(0) * (len(seen) / seen.sum(0).clamp_min(1)).sqrt()).clamp_min(1e-3))

    def forward(self, video: Tensor) -> Tensor:
        """[B, V] -> [B, D]."""
        seen = ~video.isnan().all(1, keepdim=True)
        result: Tensor = self.net(((video - self.mean) / self.spread).nan_to_num(0.0)) * seen
        return result


class FrameEye(nn.Module):
    """Raw frames -> embedding: frames of a segment enter as channels, so the first layer already sees motion.

    A black frame, where no face was seen, has no part in the mean that is taken off, and stays as that.
    """

    def __init__(self, frames: int, side: int, size: int) -> None:
        super().__init__()
        widths = (32, 48, 64, 96)
        layers: list[nn.Module] = []
        for inputs, outputs in zip((frames, *widths[:-1]), widths, strict=True):
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        side = -(-side // 16)
        self.net = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(widths[-1] * side * side, size))

    def forward(self, video: Tensor) -> Tensor:
        """[B, N, H, W] in [0, 1] -> [B, D]."""
        seen = video.amax((2, 3), keepdim=True) > 0
        pixels = seen.sum((1, 2, 3), keepdim=True).clamp_min(1) * video[0, 0].numel()
        result: Tensor = self.net((video - video.sum((1, 2, 3), keepdim=True) / pixels) * seen)
        return result


class Teacher(nn.Module):
    """An ear, an eye, a fusion per segment, an aggregator and a header."""

    def __init__(self, config: TeacherConfig) -> None:
        super().__init__()
        self.config = config
        self.ear = make_encoder(config.size)
        size = self.ear.embedding_size
        self.eye: nn.Module | None = None
        if config.video in FEATURES:
            self.eye = FeatureEye(config.features, size)
        elif config.video == "frames":
            self.eye = FrameEye(config.frames, config.frame_size, size)
        self.scale = nn.ModuleList(
            nn.LayerNorm(size) for _ in range(2 if self.eye else 1)
        )  # neither sense drowns the other
        self.fuse = nn.Sequential(nn.Dropout(0.2), nn.Linear(2 * size if self.eye else size, size))
        self.branch = TaskBranch(config.task, config.setting, size)
        self.embedding_size = size

    def forward(self, segments: Tensor, video: Tensor | None) -> Heard:
        """[B, S, 80, 1, F] and video per segment -> Heard."""
        batch, count = segments.shape[:2]
        senses = [self.ear(segments.flatten(0, 1))]
        if self.eye is not None:
            assert video is not None, "a teacher with an eye needs video"
            senses.append(self.eye(video.flatten(0, 1)))
        sensed = torch.cat([scale(sense) for scale, sense in zip(self.scale, senses, strict=True)], 1)
        embeddings = self.fuse(sensed).unflatten(0, (batch, count))
        return Heard(embeddings, *self.branch.answer(self.branch.aggregator(embeddings)))
