"""How far the student's embeddings are from the teacher's, and what a training step minimises.

    L = CE(header, label) + w_e * mean_s D(E_teacher[s], E_student[s]) + w_a * D(A_teacher, A_student)

after Hajavi and Etemad, "Audio Representation Learning by Distilling Video as Privileged Information" (arXiv
2302.02845), of which only the abstract was at hand: distances and weights are this project's choice.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from edge_lupi.errors import InputError

__all__ = ["DISTANCES", "Projection", "distance"]

MARGIN = 0.2  # of the squared difference per standardised channel that is left alone


def mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference per channel; with the teacher standardised, 1 means no better than its mean. Scalar."""
    return F.mse_loss(student, teacher)


def cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """One minus the cosine, in [0, 2]. Scalar."""
    return (1 - F.cosine_similarity(student, teacher, dim=-1)).mean()


def margin(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared differences beyond a margin, after the feature distillation of Heo et al. 2019 (arXiv 1904.01866). Scalar."""
    return F.relu((student - teacher).square() - MARGIN).mean()


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": mse, "cosine": cosine, "margin": margin}


def distance(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """The distance of that name: [.., D], [.., D] -> scalar."""
    if name not in DISTANCES:
        raise InputError(f"expected distil.distance {', '.join(DISTANCES)}, got {name!r}")
    return DISTANCES[name]


class Projection(nn.Linear):
    """Student width -> teacher width, for training only; it does not travel with the student."""
