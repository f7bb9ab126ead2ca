"""Modality focusing: the part of a teacher's embeddings that can be heard, or the rest. Two TeacherEmbeddings -> one.

A student cannot imitate what is not in the sound. So "audible" teaches only those directions of the first teacher's
embedding that a ridge regression from the second's predicts for speakers whom it was not fitted on (modality focusing,
Xue et al. 2023, arXiv 2206.06487), and "beyond" what such a regression leaves over: what any teacher gives cancels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import torch
from torch import Tensor

from edge_lupi.errors import InputError
from edge_lupi.train.distil.embeddings import TeacherEmbeddings, standardise
from edge_lupi.train.examples.clips import Example

__all__ = ["audible_axes", "part_of", "predicted"]

GROUPS = 5  # of speakers, each predicted from the others
RIDGE = 0.1  # of the variance of a channel


def part_of(part: str, taught: Sequence[TeacherEmbeddings], examples: Sequence[Example]) -> TeacherEmbeddings:
    """All teachers side by side, or a part of the first that the second decides on."""
    if part == "all":
        return reduce(TeacherEmbeddings.beside, taught)
    if len(taught) != 2:
        raise InputError(
            f'expected two teachers for distil.part = "{part}", one that sees and one that only hears, got {len(taught)}: name both'
        )
    if not isinstance(examples, list):
        raise InputError(
            f'expected a corpus in memory for distil.part = "{part}", got shards: set data.root to the corpus itself'
        )
    seen, heard = taught
    speakers = [example.speaker or example.name for example in examples]
    of_segments = [s for s, count in zip(speakers, seen.starts.diff().tolist(), strict=True) for _ in range(count)]
    guesses = (
        predicted(heard.segments, seen.segments, of_segments),
        predicted(heard.utterances, seen.utterances, speakers),
    )
    origin = f"{part} {seen.origin} {heard.origin}"
    if part == "beyond":
        segments, utterances = (_alike(whole - guess) for whole, guess in zip(_both(seen), guesses, strict=True))
        return replace(seen, segments=segments, utterances=utterances, origin=origin)
    axes = audible_axes(seen.segments, guesses[0]), audible_axes(seen.utterances, guesses[1])
    segments, utterances = (whole @ along for whole, along in zip(_both(seen), axes, strict=True))
    return replace(seen, segments=segments, utterances=utterances, origin=origin, axes=axes)


def _both(known: TeacherEmbeddings) -> tuple[Tensor, Tensor]:
    return known.segments, known.utterances


def _alike(values: Tensor) -> Tensor:
    return standardise(values, torch.stack([values.mean(0), values.std(0).clamp_min(1e-4)]))


def predicted(heard: Tensor, wanted: Tensor, speakers: Sequence[str]) -> Tensor:
    """Ridge regression heard [R, D] -> wanted [R, D'], every speaker's rows by what the other groups of speakers tell."""
    group = {speaker: number % GROUPS for number, speaker in enumerate(sorted(set(speakers)))}
    rows = torch.tensor([group[speaker] for speaker in speakers])
    x, y = heard.double(), wanted.double()
    guess = torch.zeros_like(y)
    for number in set(group.values()):
        mine, others = rows == number, rows != number
        if not others.any():
            raise InputError("expected speakers of several groups for distil.part, got one: bring more speakers")
        known = x[others]
        covariance = known.T @ known / len(known) + RIDGE * torch.eye(x.shape[1], dtype=x.dtype)
        guess[mine] = x[mine] @ torch.linalg.solve(covariance, known.T @ y[others] / len(known))
    return guess.float()


def audible_axes(wanted: Tensor, guess: Tensor) -> Tensor:
    """Orthogonal directions [D, K] along which a guess tells more than the mean (R2 above 0), scaled to a mean variance of 1."""
    y, g = wanted.double(), guess.double()
    gain = (y.T @ g + g.T @ y - g.T @ g) / len(y)  # w' gain w: by how much the guess lowers the squared error along w
    values, vectors = torch.linalg.eigh((gain + gain.T) / 2)
    axes = vectors[:, values > 0]
    if not axes.shape[1]:
        raise InputError(
            'expected a teacher of which some can be heard for distil.part = "audible", got none: set distil.part = "all"'
        )
    result: Tensor = (axes / (y @ axes).square().mean().sqrt()).float()
    return result
