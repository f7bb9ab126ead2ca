"""Pretrained teachers asked once of every example: an ONNX file, a table or a teacher.pt -> KeptTeacher.

A teacher may hear more than the student: the clean sound, the whole utterance, or more of it than the segment. Its vectors
are computed one utterance at a time, and kept beside the results with a fingerprint of teacher, sound and settings.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
from edge_lupi.train.distil.under_teachers import under_one
from edge_lupi.train.examples.batch import Batch, blend
from edge_lupi.train.examples.clips import Example, heard_at_speed
from edge_lupi.train.examples.keep import keep
from edge_lupi.train.examples.prepared import Prepared
from edge_lupi.train.recipe import PretrainedTeacherRecipe, Recipe
from edge_lupi.train.recipe.teachers import LONGEST_SECONDS
from edge_lupi.train.teachers.onnx_teacher import OnnxTeacher
from edge_lupi.train.teachers.table_teacher import table_vectors

__all__ = ["KeptTeacher", "about_mean", "kept_teacher", "kept_teachers"]

MAX_TEACHER_BYTES = 1 << 31
MAX_KEPT_BYTES = 8 << 30  # of vectors of a corpus
SEGMENTS_AT_ONCE = 64


@dataclass(frozen=True)
class KeptTeacher:
    """Vectors float32 [R, D] about their mean, their mean square 1: one per example, or where `starts` [N + 1] says, per segment."""

    recipe: PretrainedTeacherRecipe
    vectors: Tensor
    starts: Tensor | None = None

    @property
    def width(self) -> int:
        """D."""
        return self.vectors.shape[1]

    def along_axes(self, width: int) -> KeptTeacher:
        """The same on the `width` orthogonal axes that hold most of the spread: cosines stay, as far as those hold it."""
        if self.width < width:
            raise InputError(
                f'expected a teacher of at least {width} channels for projection "axes", got {self.width} of {self.recipe.path}: set teachers.projection = "learnt"'
            )
        if self.width == width:
            return self
        spread = self.vectors.T.double() @ self.vectors.double()
        basis = torch.linalg.eigh(spread).eigenvectors[:, -width:].flip(1).float()
        return KeptTeacher(self.recipe, _scaled(self.vectors @ basis), self.starts)

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


def about_mean(recipe: PretrainedTeacherRecipe, vectors: Tensor, starts: Tensor | None = None) -> KeptTeacher:
    """A teacher of these vectors [R, D], less their mean, and scaled; `starts` where they are of segments."""
    return KeptTeacher(recipe, _scaled(vectors - vectors.mean(0)), starts if recipe.place == "segment" else None)


def _from_embeddings(recipe: PretrainedTeacherRecipe, known: TeacherEmbeddings) -> KeptTeacher:
    """A teacher.pt with its embeddings."""
    return about_mean(recipe, known.segments if recipe.place == "segment" else known.utterances, known.starts)


def kept_teacher(
    recipe: PretrainedTeacherRecipe,
    examples: Sequence[Example],
    sources: Mapping[str, Utterance],
    segmentation: Segmentation,
    trim_db: float,
    folder: Path,
) -> KeptTeacher:
    """An ONNX file or a table with its vectors of these examples; `sources` has their utterances by name."""
    counts = torch.tensor([0, *(example.segments for example in examples)])
    data = read_bounded(recipe.path, MAX_TEACHER_BYTES, "a teacher of the recipe")
    if recipe.path.endswith(".npz"):
        vectors = table_vectors(recipe.path, data, examples, by_segment=recipe.place == "segment")
    else:
        hearing = _Hearing(recipe, sources, segmentation, trim_db)
        vectors = _vectors(hearing, data, examples, folder)
    return about_mean(recipe, F.normalize(torch.from_numpy(vectors)), counts.cumsum(0))


def kept_teachers(
    recipe: Recipe, prepared: Prepared, examples: Sequence[Example], folder: Path, device: torch.device, width: int
) -> list[KeptTeacher]:
    """The teachers of [[teachers]], in the order of the recipe; a student's embedding is `width` wide."""
    if not recipe.teachers:
        return []
    parts = prepared.in_memory("[[teachers]]").split
    sources = {utterance.name: utterance for utterance in (*parts.train, *parts.unlabelled)}
    cut, found = recipe.segments, []
    for one in recipe.teachers:
        if one.path.endswith(".pt"):
            teacher = _from_embeddings(one, under_one(Path(one.path), recipe, prepared, device)[1])
        else:
            teacher = kept_teacher(one, examples, sources, cut.segmentation, cut.trim_db, folder)
        found.append(teacher.along_axes(width) if one.projection == "axes" else teacher)
    return found


@dataclass(frozen=True)
class _Hearing:
    """How a teacher gets to hear an example."""

    recipe: PretrainedTeacherRecipe
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


def _vectors(hearing: _Hearing, data: bytes, examples: Sequence[Example], folder: Path) -> NDArray[np.float32]:
    """Vectors [R, D] from the file that an earlier training kept, or computed now and kept."""
    key = hearing.key(data, examples)
    path = folder / f"lesson.{hashlib.sha256(data).hexdigest()[:12]}.{key[:12]}.npz"
    try:
        found = unpacked_arrays(read_bounded(path, MAX_KEPT_BYTES), MAX_KEPT_BYTES)
        if str(found["fingerprint"]) == key:
            return found["vectors"].astype(np.float32)
    except (InputError, ValueError, KeyError):
        pass  # absent or damaged: computed again
    teacher = OnnxTeacher(data, hearing.recipe.front_end, hearing.recipe.path)
    vectors = np.concatenate([said for example in examples for said in _said(teacher, hearing.pieces(example))])
    packed = io.BytesIO()
    np.savez(packed, fingerprint=np.array(key), vectors=vectors)
    keep(path, packed.getvalue())
    return vectors


def _said(teacher: OnnxTeacher, pieces: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(pieces), SEGMENTS_AT_ONCE):
        yield teacher(pieces[start : start + SEGMENTS_AT_ONCE])
