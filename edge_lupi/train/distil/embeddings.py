"""Teacher embeddings of a corpus, computed once: E [S, D], A [D] and scores [C] per example, on disk with a fingerprint."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_lupi.data.digest import file_digest
from edge_lupi.data.place import found_data
from edge_lupi.disk import read_bounded, unpacked_arrays, written_at_once
from edge_lupi.errors import InputError
from edge_lupi.frames import Segmentation
from edge_lupi.models.sight import as_seen
from edge_lupi.models.teacher import Teacher
from edge_lupi.progress import progress
from edge_lupi.train.examples.batch import Batch
from edge_lupi.train.examples.clips import Example, segments_of
from edge_lupi.train.examples.keep import keeping
from edge_lupi.train.examples.prepared import Prepared
from edge_lupi.train.recipe import Recipe

__all__ = [
    "TeacherEmbeddings",
    "given_outputs",
    "kept_scale",
    "standardise",
    "teacher_embeddings",
    "without_embeddings",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TeacherEmbeddings:
    """segments float32 [sum S, D] of all examples in turn, `starts` [N + 1] where each begins, utterances [N, D].

    Both are standardised per channel over the corpus, so a squared distance of 1 is the teacher's own spread. Of several
    teachers the channels stand side by side. scores [N, K, C]: log-odds of K teachers, where they tell classes. `scale`
    [2, D]: the mean and the spread that utterances had before. `origin` names what all this was made of. Where only some
    directions are taught, `axes` ([D, K] of segments, of utterances) lead to them, and the vectors are along them already.
    """

    segments: Tensor
    starts: Tensor
    utterances: Tensor
    scores: Tensor
    scale: Tensor
    origin: str = ""
    axes: tuple[Tensor, Tensor] | None = None

    def of(self, batch: Batch, count: int, every: int = 1) -> tuple[Tensor, Tensor]:
        """E [B, S, D] and A [B, D] for a batch of crops of `count` segments, every so many on the grid of hops."""
        device = batch.frames.device
        first = self.starts[list(batch.examples)] + torch.tensor(batch.firsts)
        rows = first[:, None] + every * torch.arange(count)
        return self.segments[rows].to(device), self.utterances[list(batch.examples)].to(device)

    def probabilities(self, batch: Batch, temperature: float) -> Tensor:
        """What the teachers say at a temperature, their mean [B, C]."""
        scores = self.scores[list(batch.examples)].to(batch.frames.device)
        return (scores / temperature).softmax(-1).mean(1)

    def beside(self, other: TeacherEmbeddings) -> TeacherEmbeddings:
        """Two teachers of the same examples as one."""
        return TeacherEmbeddings(
            torch.cat([self.segments, other.segments], 1),
            self.starts,
            torch.cat([self.utterances, other.utterances], 1),
            torch.cat([self.scores, other.scores], 1),
            torch.cat([self.scale, other.scale], 1),
            f"{self.origin} {other.origin}",
        )


def teacher_embeddings(
    teacher: Teacher, weights: bytes, examples: Sequence[Example], folder: Path, device: torch.device
) -> TeacherEmbeddings:
    """From the cache where teacher, corpus and segmentation are the same, else computed now and kept."""
    key = _fingerprint(weights, examples, teacher.config.segmentation)
    path = folder / f"teacher_embeddings.{hashlib.sha256(weights).hexdigest()[:12]}.{key[:12]}.npz"
    kept = _kept(path, key)
    if kept is not None:
        return kept
    fresh = replace(_compute(teacher.to(device).eval(), examples, device), origin=key)
    with keeping(path), written_at_once(path) as file:  # under torchrun every process may write; the same bytes win
        np.savez(file, fingerprint=np.array(key), **{name: getattr(fresh, name).numpy() for name in ARRAYS})
    return fresh


def kept_scale(teacher: Path) -> Tensor | None:
    """The scale [2, D] of a teacher's utterance embeddings, where students have learnt from it."""
    weights = file_digest(teacher)[:12]
    for path in sorted(teacher.parent.glob(f"teacher_embeddings.{weights}.*.npz")):
        kept = _arrays(path)
        if kept is not None:
            return torch.from_numpy(kept["scale"])
    return None


ARRAYS = ("segments", "starts", "utterances", "scores", "scale")
LARGEST_BYTES = 1 << 33  # of embeddings of a corpus that fits in memory
LARGEST_OUTPUTS_BYTES = 1 << 28


def given_outputs(name: str, prepared: Prepared, recipe: Recipe, examples: Sequence[Example]) -> Tensor:
    """Log-odds [N, 1, C] of a teacher known only by its outputs: distil.outputs = "file.npz:array" (see DistilRecipe)."""
    file, _, array = name.rpartition(":")
    path = found_data(file)
    try:
        kept = unpacked_arrays(read_bounded(path, LARGEST_OUTPUTS_BYTES, "a .npz"), LARGEST_OUTPUTS_BYTES)
        clips, classes, outputs = kept["clip"].tolist(), kept["classes"].tolist(), kept[array].astype(np.float64)
        if kept["clip"].ndim != 1 or kept["classes"].ndim != 1:
            raise ValueError("clip or classes that are no list")
    except (InputError, ValueError, KeyError) as error:
        raise InputError(
            f"expected distil.outputs as file.npz:array with clip, classes and the array, got {name} ({error})"
        ) from error
    if outputs.ndim == 3:
        outputs = outputs[_fold(recipe, len(outputs))]
    place = {clip: row for row, clip in enumerate(clips)}
    fits = tuple(classes) == prepared.classes and outputs.shape == (len(clips), len(classes))
    absent = {
        e.name for e in examples if e.name not in place or (fits and not np.isfinite(outputs[place[e.name]]).all())
    }
    if absent or not fits:
        raise InputError(
            f"expected outputs of every training clip for {', '.join(prepared.classes)} in {path}, got {len(absent)} clips without, shape {outputs.shape} and classes {', '.join(map(str, classes))}"
        )
    rows = outputs[[place[e.name] for e in examples]]
    log_odds = np.log(rows.clip(1e-4)) if rows.min() >= 0 and np.allclose(rows.sum(1), 1, atol=0.01) else rows
    return torch.from_numpy(log_odds.astype(np.float32))[:, None]


def without_embeddings(examples: Sequence[Example]) -> TeacherEmbeddings:
    """What is known where the only teacher is one by its outputs: nothing yet, in vectors of no width."""
    starts = torch.tensor([0, *(example.segments for example in examples)]).cumsum(0)
    none = torch.zeros(len(examples), 0)
    return TeacherEmbeddings(torch.zeros(int(starts[-1]), 0), starts, none, none[:, None], torch.zeros(2, 0))


def _fold(recipe: Recipe, folds: int) -> int:
    names = [f"fold{fold}" for fold in range(folds)]
    test = recipe.data.test
    if not isinstance(test, str) or test not in names:
        raise InputError(f"expected data.test of {', '.join(names)}, as distil.outputs has, got {test!r}")
    return names.index(test)


def _kept(path: Path, key: str) -> TeacherEmbeddings | None:
    """What lies in the cache, where it is whole and of this fingerprint."""
    kept = _arrays(path)
    if kept is None or str(kept["fingerprint"]) != key:
        return None
    segments, starts, utterances, scores, scale = (torch.from_numpy(kept[name]) for name in ARRAYS)
    return TeacherEmbeddings(segments, starts, utterances, scores, scale, origin=key)


def _arrays(path: Path) -> dict[str, NDArray[Any]] | None:
    """What lies in a file of the cache; None where it is absent or damaged, so that it is computed again."""
    try:
        kept = unpacked_arrays(read_bounded(path, LARGEST_BYTES), LARGEST_BYTES)
    except (InputError, ValueError):
        return None
    return kept if {"fingerprint", *ARRAYS} <= set(kept) else None


@torch.no_grad()
def _compute(teacher: Teacher, examples: Sequence[Example], device: torch.device) -> TeacherEmbeddings:
    segments, utterances, scores, starts = [], [], [], [0]
    for number, example in enumerate(examples, 1):
        progress(log, f"asking the teacher  {number}/{len(examples)}", last=number == len(examples), often=True)
        video = None if example.video is None else as_seen(example.video)[None].to(device)
        heard = teacher(segments_of(example.frames, teacher.config.segmentation).to(device), video)
        segments.append(heard.segments[0].cpu())
        utterances.append(heard.utterance.cpu())
        scores.append(heard.utterance.new_zeros(1, 0).cpu() if heard.scores is None else heard.scores.cpu())
        starts.append(starts[-1] + len(segments[-1]))
    every_segment, every_utterance = torch.cat(segments), torch.cat(utterances)
    scale = _scale(every_utterance)
    return TeacherEmbeddings(
        standardise(every_segment, _scale(every_segment)),
        torch.tensor(starts),
        standardise(every_utterance, scale),
        torch.cat(scores)[:, None],
        scale,
    )


def _scale(values: Tensor) -> Tensor:
    return torch.stack([values.mean(0), values.std(0).clamp_min(1e-4)])


def standardise(values: Tensor, scale: Tensor) -> Tensor:
    """[N, D] less the mean, over the spread, of a scale [2, D]."""
    return (values - scale[0]) / scale[1]


def _fingerprint(weights: bytes, examples: Sequence[Example], segmentation: Segmentation) -> str:
    digest = hashlib.sha256(weights)
    digest.update(repr(segmentation).encode())
    for example in examples:
        digest.update(f"{example.name}\0{example.segments}\0".encode())
        digest.update(example.frames.tobytes())
        if example.video is not None:
            digest.update(example.video.contiguous().numpy().tobytes())
    return digest.hexdigest()
