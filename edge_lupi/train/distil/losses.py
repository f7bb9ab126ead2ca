"""Distillation losses: how far the student's embeddings are from its teachers', and what a training step minimises.

    L = CE(header, label) + w_e * mean_s D(E_teacher[s], E_student[s]) + w_a * D(A_teacher, A_student)

after Hajavi and Etemad, "Audio Representation Learning by Distilling Video as Privileged Information" (arXiv
2302.02845), of which only the abstract was at hand: distances and weights are this project's choice. Soft labels are the
earlier way, and stand beside it for comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn
from torch.nn import functional as F

from edge_lupi.errors import InputError
from edge_lupi.models.header import MarginHeader
from edge_lupi.models.student import Heard
from edge_lupi.train.distil.embeddings import TeacherEmbeddings
from edge_lupi.train.examples.batch import Batch, blend
from edge_lupi.train.examples.clips import UNLABELLED
from edge_lupi.train.recipe import DistilRecipe, PretrainedTeacherRecipe

__all__ = [
    "DISTANCES",
    "Axes",
    "Labels",
    "PretrainedTeacher",
    "Projection",
    "distance",
    "distil",
    "label_loss",
    "labels_of",
    "slow_and_fast",
    "soft_labels",
    "teacher_losses",
]

MARGIN = 0.2  # of the squared difference per standardised channel that is left alone


def mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference per channel (FitNets, Romero et al. 2015, arXiv 1412.6550); the teacher is standardised, so 1 means no better than its mean. Scalar."""
    return F.mse_loss(student, teacher)


def cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """One minus the cosine, in [0, 2]: direction only, as in feature distillation of speaker embeddings (Wang et al. 2019). Scalar."""
    return (1 - F.cosine_similarity(student, teacher, dim=-1)).mean()


def margin(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared differences beyond a margin, after the feature distillation of Heo et al. 2019 (arXiv 1904.01866). Scalar."""
    return F.relu((student - teacher).square() - MARGIN).mean()


def slow_and_fast(student: Tensor, teacher: Tensor, fast: float) -> Tensor:
    """Mean squared difference over segments [B, S, D]: of their mean, and `fast` times of what differs from it. With 1 it is `mse`. Scalar."""
    apart = student - teacher
    slow = apart.mean(1, keepdim=True)
    return slow.square().mean() + fast * (apart - slow).square().mean()


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": mse, "cosine": cosine, "margin": margin}


def distance(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """The distance of that name: [.., D], [.., D] -> scalar."""
    if name not in DISTANCES:
        raise InputError(f"expected distil.distance {', '.join(DISTANCES)}, got {name!r}")
    return DISTANCES[name]


def soft_labels(scores: Tensor, probabilities: Tensor, temperature: float) -> Tensor:
    """KL divergence to the teacher's probabilities at a temperature, times its square (Hinton et al. 2015, arXiv 1503.02531). Scalar."""
    said = (scores / temperature).log_softmax(-1)
    return F.kl_div(said, probabilities, reduction="batchmean") * temperature**2


Labels = tuple[Tensor, "Tensor | None", "Tensor | None"]  # labels [B]; those of the partners; share of the first [B]


def label_loss(heard: Heard, header: MarginHeader | None, labels: Labels, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy through the margin header, or of the scores with smoothed labels (Szegedy et al. 2016, arXiv 1512.00567).

    Of mixed crops both labels count, in their shares; a crop without a label counts as no loss. Scalar.
    """
    first, partner, share = labels
    if partner is None or share is None:
        return _cross_entropy(heard, header, first, smoothing).mean()
    both = [_cross_entropy(heard, header, of, smoothing) for of in (first, partner)]
    return (share * both[0] + (1 - share) * both[1]).mean()


def _cross_entropy(heard: Heard, header: MarginHeader | None, labels: Tensor, smoothing: float) -> Tensor:
    if header is not None:
        scores, smoothing = header(heard.utterance, labels.clamp_min(0)), 0.0
    else:
        assert heard.scores is not None
        scores = heard.scores
    return F.cross_entropy(scores, labels, label_smoothing=smoothing, ignore_index=UNLABELLED, reduction="none")


def labels_of(batch: Batch) -> Labels:
    """Whose label a row has, or whose two labels in which shares."""
    return batch.labels, None if batch.partner is None else batch.partner.labels, batch.share


def distil(
    weights: DistilRecipe,
    known: TeacherEmbeddings,
    batch: Batch,
    encoded: Tensor,
    aggregated: Tensor,
    scores: Tensor | None,
    every: int = 1,
) -> dict[str, Tensor]:
    """The weighted parts for a batch of crops, from E [B, S, D], A [B, D] in the teacher's width and scores [B, C]."""
    far = distance(weights.distance)
    wanted_e, wanted_a = _wanted(batch, lambda b: known.of(b, encoded.shape[1], every))
    parts = {}
    if weights.encoder:
        parts["encoder"] = weights.encoder * (
            far(encoded, wanted_e) if weights.fast == 1 else slow_and_fast(encoded, wanted_e, weights.fast)
        )
    if weights.aggregator:
        parts["aggregator"] = weights.aggregator * far(aggregated, wanted_a)
    if weights.soft:
        if scores is None or not known.scores.numel():
            raise InputError("expected a teacher that tells classes for distil.soft, got one that compares voices")
        (wanted,) = _wanted(batch, lambda b: (known.probabilities(b, weights.temperature),))
        parts["soft"] = weights.soft * soft_labels(scores, wanted, weights.temperature)
    return parts


def _wanted(batch: Batch, of: Callable[[Batch], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """What the teacher says of a batch; of mixed crops the blend of what it says of both."""
    if batch.partner is None or batch.share is None:
        return of(batch)
    share = batch.share
    return tuple(blend(a, b, share) for a, b in zip(of(batch), of(batch.partner), strict=True))


class PretrainedTeacher(Protocol):
    """A teacher of [[teachers]]: one whose vectors are kept, or one that is asked for every crop."""

    @property
    def recipe(self) -> PretrainedTeacherRecipe:
        """Who teaches, and how much it weighs."""

    @property
    def width(self) -> int:
        """D."""

    def of(self, batch: Batch, count: int, every: int) -> Tensor:
        """Its vectors [B, D] for a batch of crops, or [B, S, D] of `count` segments, every so many on the grid of hops."""


def teacher_losses(
    teachers: Sequence[PretrainedTeacher], batch: Batch, imitations: Sequence[Tensor], every: int
) -> dict[str, Tensor]:
    """The weighted parts, by the teachers' file names: `imitations` are E [B, S, D] or A [B, D] in each teacher's width."""
    parts = {}
    for number, (teacher, own) in enumerate(zip(teachers, imitations, strict=True)):
        wanted = teacher.of(batch, own.shape[1], every)
        name = f"{Path(teacher.recipe.path).stem} {number}" if len(teachers) > 1 else Path(teacher.recipe.path).stem
        if teacher.recipe.weight:
            parts[name] = teacher.recipe.weight * distance(teacher.recipe.distance)(own, wanted)
        if teacher.recipe.relations:
            parts[f"{name} relations"] = teacher.recipe.relations * _relations(own, wanted)
    return parts


def _relations(own: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared difference of the cosines between rows, [.., D] and [.., D]. Scalar."""
    a, b = (F.normalize(rows.flatten(0, -2), dim=-1) for rows in (own, wanted))
    return (a @ a.T - b @ b.T).square().mean()


class Projection(nn.Linear):
    """Student width -> teacher width, for training only; it does not travel with the student."""


class Axes(nn.Module):
    """Along the directions of a teacher's embedding that are taught; fixed, and for training only."""

    axes: Tensor

    def __init__(self, axes: Tensor) -> None:
        super().__init__()
        self.register_buffer("axes", axes)

    def forward(self, embeddings: Tensor) -> Tensor:
        """[.., D] -> [.., K]."""
        return embeddings @ self.axes
