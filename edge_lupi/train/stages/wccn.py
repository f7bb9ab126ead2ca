"""Within-class covariance normalisation (WCCN): what a room, a wire or other voices do to a voice counts less in its embedding.

Hatch, Kajarekar and Stolcke 2006. Pieces of the training voices are heard as they are, in each of the recipe's
surroundings, or the usual ones, and in other moods; the directions in which the vectors of one voice spread are made narrower, (x - mean) (S_within)^-1/2. That is linear,
so it goes into the aggregator's last layer, on the int8 grid as it is: listening costs what it did, and nothing is trained.
student.pt -> student.pt
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_lupi.data.digest import file_digest
from edge_lupi.data.speech import read_speech
from edge_lupi.errors import InputError
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.models.aggregator import AttentiveAggregator
from edge_lupi.models.files import TrainedStudent, load_student, save_student
from edge_lupi.models.front_end import cut_samples
from edge_lupi.models.rounding import fix_ranges
from edge_lupi.progress import progress
from edge_lupi.runtime.level import Level
from edge_lupi.sound.audio import from_pcm
from edge_lupi.train.examples.draw import Draw
from edge_lupi.train.examples.prepared import Prepared
from edge_lupi.train.recipe import AugmentRecipe, Recipe
from edge_lupi.train.sounds.moods import in_another_mood, vocoder
from edge_lupi.train.sounds.surroundings import Surroundings
from edge_lupi.train.stages.threshold import with_threshold

__all__ = ["normalise_student", "wccn"]

log = logging.getLogger(__name__)

SURROUNDINGS = ("rooms", "babble", "noises", "levels", "constants", "clipping", "wires")
AT_ONCE = 64  # pieces that are disturbed together: babble is made of the others
FEWEST_VOICES = 10
Samples = NDArray[np.float32]


def normalise_student(recipe: Recipe, prepared: Prepared, source: Path, folder: Path) -> Path:
    """Writes <source's name>.wccn.pt, with a threshold of its own. Raises InputError where it cannot be done."""
    trained = load_student(source)
    task = prepared.task
    if not task.verifies or task.name not in trained.student.branches:
        raise InputError(
            f"expected a student that compares voices for {task.name}, got {source}: give one of the recipe's task"
        )
    aggregator = trained.student.branch(task.name).aggregator
    if not isinstance(aggregator, AttentiveAggregator):
        raise InputError(
            f'expected a student of segments.setting "sequential", got {source}, whose aggregator has no layer to take it'
        )
    if recipe.wccn.moods:
        vocoder()  # missed now, not after minutes of hearing
    sounds, voices = _pieces(recipe, prepared)
    every = _surroundings(recipe.augment)
    vectors = []
    hear = _Hearing(trained, task.name)
    for number, (name, augment) in enumerate(every.items(), 1):
        progress(log, f"wccn  {len(sounds)} pieces, {name}, {number}/{len(every)}", last=number == len(every))
        vectors += [hear(samples) for samples in _disturbed(sounds, augment, recipe.seed + number)]
    for number in range(1, recipe.wccn.moods + 1):
        progress(log, f"wccn  {len(sounds)} pieces in another mood, {number}/{recipe.wccn.moods}")
        draw = np.random.default_rng([recipe.seed, number])
        vectors += [hear(in_another_mood(samples, draw)) for samples in sounds]
    mean, matrix = wccn(np.stack(vectors), np.tile(voices, len(every) + recipe.wccn.moods), recipe.wccn.shrinkage)
    student = copy.deepcopy(trained.student)
    turned = student.branch(task.name).aggregator
    assert isinstance(turned, AttentiveAggregator)
    turned.turn(torch.from_numpy(mean), torch.from_numpy(matrix))
    figures = {
        "shrinkage": recipe.wccn.shrinkage,
        "pieces": len(sounds),
        "voices": len(set(voices.tolist())),
        "heard": list(every),
        "moods": recipe.wccn.moods,
        "augment": recipe.plain()["augment"],
        "source": file_digest(source),
    }
    provenance = replace(trained.provenance, wccn=figures)
    path = folder / f"{source.stem}.wccn.pt"
    save_student(path, with_threshold(replace(trained, student=student, provenance=provenance), recipe, prepared))
    return path


def wccn(vectors: NDArray[np.float32], voices: NDArray[np.int64], shrinkage: float) -> tuple[Samples, Samples]:
    """Vectors [N, D] of voices [N] -> mean [D] and symmetric matrix [D, D], float32, which leaves their spread as it was in all.

    The covariance within voices is drawn to a multiple of the identity by `shrinkage`: at 1 nothing turns.
    """
    x = vectors.astype(np.float64)
    _, number = np.unique(voices, return_inverse=True)
    sums = np.zeros((number.max() + 1, x.shape[1]))
    np.add.at(sums, number, x)
    means = sums / np.bincount(number)[:, None]
    mean, within = means.mean(0), x - means[number]
    scatter = within.T @ within / len(x)
    even = np.trace(scatter) / len(scatter) * np.eye(len(scatter))
    values, axes = np.linalg.eigh((1 - shrinkage) * scatter + shrinkage * even)
    matrix = axes @ np.diag(values.clip(values.max() * 1e-6) ** -0.5) @ axes.T
    about = x - mean
    matrix *= np.sqrt(np.square(about).sum() / np.square(about @ matrix).sum())
    return mean.astype(np.float32), matrix.astype(np.float32)


class _Hearing:
    """The utterance vector of a student as its aggregator gives it, before it is made a unit vector; quiet speech is raised."""

    def __init__(self, trained: TrainedStudent, task: str) -> None:
        self.student = copy.deepcopy(trained.student).eval()  # folding and rounding change it
        self.level = Level(from_pcm(trained.golden_samples))
        self.aggregator = self.student.branch(task).aggregator
        if trained.ranges:
            fix_ranges(self.student.encoder.fold(), trained.ranges)

    @torch.no_grad()
    def __call__(self, samples: Samples) -> Samples:
        """float32 [T] -> [D]."""
        segments = cut_samples(samples, self.student.config.segmentation)[0].numpy()
        embeddings = self.student.encoder(torch.from_numpy(self.level.raised(segments)))
        found: Samples = self.aggregator(embeddings[None])[0].numpy()
        return found


def _pieces(recipe: Recipe, prepared: Prepared) -> tuple[Samples, NDArray[np.int64]]:
    """Pieces [N, T] of the training voices, and whose they are [N]; what is shorter than one is repeated."""
    length = round(recipe.wccn.seconds * SAMPLE_RATE_HZ)
    sounds, voices = [], []
    number = {label: place for place, label in enumerate(prepared.classes)}
    if len(number) < FEWEST_VOICES:
        raise InputError(
            f"expected at least {FEWEST_VOICES} voices to train on, got {len(number)}: bring more, or leave wccn out"
        )
    for utterance in prepared.in_memory("train wccn").split.train:
        samples, _ = read_speech(utterance, recipe.segments.trim_db)
        if not len(samples):
            continue
        for start in range(0, max(1, len(samples) // length) * length, length)[: recipe.wccn.pieces]:
            sounds.append(np.resize(samples[start : start + length], length))
            voices.append(number[utterance.label])
    return np.stack(sounds).astype(np.float32), np.array(voices)


def _surroundings(augment: AugmentRecipe) -> dict[str, AugmentRecipe | None]:
    """As it is; each that the recipe has alone, of every piece; and all together in the recipe's shares, or the usual ones."""
    if not any(getattr(augment, key) for key in SURROUNDINGS):
        augment = replace(augment, rooms=0.5, babble=0.5, noises=0.3, wires=0.5)
    found = [key for key in SURROUNDINGS if getattr(augment, key)]
    none: dict[str, Any] = dict.fromkeys((*SURROUNDINGS, "codecs"), 0.0)
    alone: dict[str, AugmentRecipe | None] = {key: replace(augment, **{**none, key: 1.0}) for key in found}
    return {"as it is": None, **alone, "together": replace(augment, codecs=0.0)}


def _disturbed(sounds: Samples, augment: AugmentRecipe | None, seed: int) -> Iterator[Samples]:
    """Each piece [T], in these surroundings."""
    for start in range(0, len(sounds), AT_ONCE):
        pieces: Tensor = torch.from_numpy(sounds[start : start + AT_ONCE])
        if augment is not None:
            around = Surroundings(augment, seed, pieces.device)
            pieces = around(pieces, Draw(1000 * seed + start)).clamp(-1, 1)
        yield from pieces.numpy()
