"""What the recipe's teachers tell of every example, and how far a student is from it. [[teachers]] -> vectors, losses.

A teacher may hear more than the student: the clean sound, the whole utterance, or more of it than the segment. What it
tells is computed once, one utterance at a time, and kept beside the results with a fingerprint of teacher, sound and settings.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from edge_lupi.data.utterance import Utterance
from edge_lupi.disk import read_bounded, unpacked_arrays
from edge_lupi.errors import InputError
from edge_lupi.frames import SAMPLE_RATE_HZ, Segmentation
from edge_lupi.train.distil.embeddings import TeacherEmbeddings
from edge_lupi.train.distil.losses import distance
from edge_lupi.train.examples.batch import Batch, blend
from edge_lupi.train.examples.clips import Example, heard_at_speed
from edge_lupi.train.keep import keep
from edge_lupi.train.teachers.lesson import LONGEST_SECONDS, LessonRecipe
from edge_lupi.train.teachers.onnx_teacher import OnnxTeacher
from edge_lupi.train.teachers.table_teacher import table_vectors

__all__ = ["Lesson", "from_embeddings", "lesson_losses", "lesson_of"]

MAX_TEACHER_BYTES = 1 << 31
MAX_KEPT_BYTES = 8 << 30  # of vectors of a corpus
SEGMENTS_AT_ONCE = 64


@dataclass(frozen=True)
class Lesson:
    """Vectors float32 [R, D] about their mean, their mean square 1: one per example, or where `starts` [N + 1] says, per segment."""

    recipe: LessonRecipe
    vectors: Tensor
    starts: Tensor | None = None

    @property
    def width(self) -> int:
        """D."""
        return self.vectors.shape[1]

    def along_axes(self, width: int) -> Lesson:
        """The same on the `width` orthogonal axes that hold most of the spread: cosines stay, as far as those hold it."""
        if self.width < width:
            raise InputError(
                f'expected a teacher of at least {width} channels for projection "axes", got {self.width} of {self.recipe.path}: set teachers.projection = "learnt"'
            )
        if self.width == width:
            return self
        spread = self.vectors.T.double() @ self.vectors.double()
        basis = torch.linalg.eigh(spread).eigenvectors[:, -width:].flip(1).float()
        return Lesson(self.recipe, _scaled(self.vectors @ basis), self.starts)

    def of(self, batch: Batch, count: int, every: int) -> Tensor:
        """[B, D] for a batch of crops, or [B, S, D] of `count` segments, every so many on the grid of hops."""
        chosen = torch.tensor(batch.examples)
        if self.starts is not None:
            first = self.starts[chosen] + torch.tensor(batch.firsts)
            chosen = first[:, None] + every * torch.arange(count)
        found = self.vectors[chosen].to(batch.frames.device)
        if batch.partner is None or batch.share is None:
            return found
        return blend(found, self.of(batch.partner, count, every), batch.share)


def _scaled(vectors: Tensor) -> Tensor:
    return vectors / vectors.square().mean().sqrt().clamp_min(1e-6)


def _about_mean(recipe: LessonRecipe, vectors: Tensor, starts: Tensor | None) -> Lesson:
    return Lesson(recipe, _scaled(vectors - vectors.mean(0)), starts if recipe.place == "segment" else None)


def from_embeddings(recipe: LessonRecipe, known: TeacherEmbeddings) -> Lesson:
    """What a teacher of this project tells."""
    return _about_mean(recipe, known.segments if recipe.place == "segment" else known.utterances, known.starts)


def lesson_of(
    recipe: LessonRecipe,
    examples: Sequence[Example],
    sources: Mapping[str, Utterance],
    segmentation: Segmentation,
    trim_db: float,
    folder: Path,
) -> Lesson:
    """What an ONNX file or a table tells of these examples; `sources` has their utterances by name."""
    counts = torch.tensor([0, *(example.segments for example in examples)])
    data = read_bounded(recipe.path, MAX_TEACHER_BYTES, "a teacher of the recipe")
    if recipe.path.endswith(".npz"):
        vectors = table_vectors(recipe.path, data, examples, by_segment=recipe.place == "segment")
    else:
        hearing = _Hearing(recipe, sources, segmentation, trim_db)
        vectors = _kept(hearing, data, examples, folder)
    return _about_mean(recipe, F.normalize(torch.from_numpy(vectors)), counts.cumsum(0))


@dataclass(frozen=True)
class _Hearing:
    """How a teacher gets to hear an example."""

    recipe: LessonRecipe
    sources: Mapping[str, Utterance]
    segmentation: Segmentation
    trim_db: float

    def pieces(self, example: Example) -> NDArray[np.float32]:
        """The whole utterance [1, T], or what is around each of its segments [S, T]; silence where there is no more."""
        samples = heard_at_speed(self.sources[example.name], example.speed, self.trim_db)
        cut = self.segmentation
        if self.recipe.place == "utterance":
            whole = samples[: round(LONGEST_SECONDS * SAMPLE_RATE_HZ)]
            return np.pad(whole, (0, max(0, cut.samples - len(whole))))[None]
        length = max(cut.samples, round(self.recipe.hears_seconds * SAMPLE_RATE_HZ))
        before = (length - cut.samples) // 2
        last = (example.segments - 1) * cut.hop_samples
        padded = np.pad(samples, (before, max(0, last + length - before - len(samples))))
        return np.stack([padded[s * cut.hop_samples :][:length] for s in range(example.segments)])

    def key(self, data: bytes, examples: Sequence[Example]) -> str:
        """Changes with whatever the vectors depend on."""
        digest = hashlib.sha256(data)
        recipe = self.recipe
        digest.update(repr((recipe.front_end, recipe.place, recipe.hears_seconds, self.segmentation)).encode())
        for example in examples:
            digest.update(f"{example.name}\0{example.speed}\0{example.segments}\0".encode())
            digest.update(example.frames.tobytes())
        return digest.hexdigest()


def _kept(hearing: _Hearing, data: bytes, examples: Sequence[Example], folder: Path) -> NDArray[np.float32]:
    """Vectors [R, D] from the file that an earlier training kept, or computed now and kept."""
    key = hearing.key(data, examples)
    path = folder / f"lesson.{hashlib.sha256(data).hexdigest()[:12]}.{key[:12]}.npz"
    try:
        found = unpacked_arrays(read_bounded(path, MAX_KEPT_BYTES), MAX_KEPT_BYTES)
        if str(found["fingerprint"]) == key:
            return found["vectors"].astype(np.float32)
    except (InputError, ValueError, KeyError):
        pass  # absent or damaged: computed anew
    teacher = OnnxTeacher(data, hearing.recipe.front_end, hearing.recipe.path)
    vectors = np.concatenate([said for example in examples for said in _said(teacher, hearing.pieces(example))])
    packed = io.BytesIO()
    np.savez(packed, fingerprint=np.array(key), vectors=vectors)
    keep(path, packed.getvalue())
    return vectors


def _said(teacher: OnnxTeacher, pieces: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(pieces), SEGMENTS_AT_ONCE):
        yield teacher(pieces[start : start + SEGMENTS_AT_ONCE])


class Telling(Protocol):
    """A lesson whose answers are kept, or one that is asked anew."""

    @property
    def recipe(self) -> LessonRecipe:
        """Who teaches, and how much it weighs."""

    def of(self, batch: Batch, count: int, every: int) -> Tensor:
        """What is said of a batch."""


def lesson_losses(lessons: Sequence[Telling], batch: Batch, said: Sequence[Tensor], every: int) -> dict[str, Tensor]:
    """The weighted parts, by the teachers' file names: `said` are E [B, S, D] or A [B, D] in each teacher's width."""
    parts = {}
    for number, (lesson, own) in enumerate(zip(lessons, said, strict=True)):
        wanted = lesson.of(batch, own.shape[1], every)
        name = f"{Path(lesson.recipe.path).stem} {number}" if len(lessons) > 1 else Path(lesson.recipe.path).stem
        if lesson.recipe.weight:
            parts[name] = lesson.recipe.weight * distance(lesson.recipe.distance)(own, wanted)
        if lesson.recipe.relations:
            parts[f"{name} relations"] = lesson.recipe.relations * _relations(own, wanted)
    return parts


def _relations(own: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared difference of the cosines between rows, [.., D] and [.., D]. Scalar."""
    a, b = (F.normalize(rows.flatten(0, -2), dim=-1) for rows in (own, wanted))
    return (a @ a.T - b @ b.T).square().mean()
