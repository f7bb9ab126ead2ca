"""The student: it only hears. segments of log-mel [B, S, 80, 1, F] -> segment embeddings, utterance embedding, scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_lupi.errors import InputError
from edge_lupi.frames import Segmentation
from edge_lupi.models.aggregator import make_aggregator
from edge_lupi.models.encoder import make_encoder
from edge_lupi.models.header import ClassHeader
from edge_lupi.models.voice import VoiceAverage
from edge_lupi.task import Task

__all__ = ["SETTINGS", "Heard", "Student", "StudentConfig"]

MAX_TASKS = 32
SETTINGS = ("sequential", "non-sequential")


@dataclass(frozen=True)
class StudentConfig:
    """What a student is made of. One encoder may serve several tasks."""

    size: str
    setting: str
    segmentation: Segmentation
    tasks: tuple[Task, ...]

    def __post_init__(self) -> None:
        if self.setting not in SETTINGS:
            raise InputError(f"expected setting {' or '.join(SETTINGS)}, got {self.setting!r}")
        if not 1 <= len(self.tasks) <= MAX_TASKS:
            raise InputError(f"expected 1 to {MAX_TASKS} tasks, got {len(self.tasks) or 'none'}")


class Heard(NamedTuple):
    """E: segment embeddings [B, S, D]; A: utterance embedding [B, D]; scores [B, C] where the task has labels."""

    segments: Tensor
    utterance: Tensor
    scores: Tensor | None


class TaskBranch(nn.Module):
    """Aggregator and header of one task, and between them, where the task has it, what a voice was so far."""

    def __init__(self, task: Task, setting: str, size: int) -> None:
        super().__init__()
        self.aggregator = make_aggregator(setting, size)
        self.verifies = task.verifies
        self.header = None if self.verifies else ClassHeader(size, len(task.labels))
        self.voice = VoiceAverage(size, task.voice) if task.voice else None

    @property
    def state_size(self) -> int:
        """Numbers in the carried state: the aggregator's, then those of the voice, where the task has them."""
        return self.aggregator.state_size + (self.voice.state_size if self.voice else 0)

    def answer(self, utterance: Tensor, voice: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Utterance [B, D] -> what leaves the model: a unit vector for verification, vector and scores for classes.

        `voice` [B, 1 + D] is what its voice was so far; the vector is the same with and without.
        """
        if self.header is None:
            return F.normalize(utterance), None
        return utterance, self.header(self.voice.relative(utterance, voice) if self.voice else utterance)

    def step(self, embedding: Tensor, state: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """One more segment -> utterance so far, scores, new state; the signature of the compiled graph."""
        if self.voice is None:
            utterance, state = self.aggregator.step(embedding, state)
            return *self.answer(utterance), state
        own = self.aggregator.state_size
        utterance, heard = self.aggregator.step(embedding, state[:, :own])
        voice = state[:, own:]
        return *self.answer(utterance, voice), torch.cat([heard, voice], 1)


class Student(nn.Module):
    """Encoder and one branch per task."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = make_encoder(config.size)
        self.branches = nn.ModuleDict(
            {task.name: TaskBranch(task, config.setting, self.encoder.embedding_size) for task in config.tasks}
        )

    def branch(self, task: str | None = None) -> TaskBranch:
        """The branch of a task; of the first without a name."""
        return self.branches[task or self.config.tasks[0].name]  # type: ignore[return-value]

    def forward(self, segments: Tensor, task: str | None = None, voice: Tensor | None = None) -> Heard:
        """[B, S, 80, 1, F] -> Heard; `voice` [B, 1 + D] is what each voice was so far, for a task that asks for it."""
        batch, count = segments.shape[:2]
        embeddings = self.encoder(segments.flatten(0, 1)).unflatten(0, (batch, count))
        branch = self.branch(task)
        return Heard(embeddings, *branch.answer(branch.aggregator(embeddings), voice))
