"""Calibration of probabilities: scores [..., C] in; softmax at a temperature, and the expected calibration error, out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_lupi.errors import InputError

__all__ = ["BINS", "Bin", "calibration_error", "negative_log_likelihood", "probabilities_of", "reliability"]

BINS = 15


def probabilities_of(scores: ArrayLike, temperature: float = 1.0) -> NDArray[np.float32]:
    """Softmax of scores [..., C] over a temperature: above 1 less sure, the same label the most probable."""
    scaled = np.asarray(scores, np.float64) / temperature
    powers = np.exp(scaled - scaled.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True), np.float32)


def negative_log_likelihood(scores: ArrayLike, labels: ArrayLike, temperature: float = 1.0) -> float:
    """Mean over utterances of minus the log of the true label's probability; scores [N, C], labels [N]."""
    values, truth = _checked(scores, labels)
    scaled = values / temperature
    top = scaled.max(1)
    total = top + np.log(np.exp(scaled - top[:, None]).sum(1))
    return float((total - scaled[np.arange(len(truth)), truth]).mean())


@dataclass(frozen=True)
class Bin:
    """Utterances whose most probable label has a probability above `low` and up to `high`: how many, their mean probability, and how many are right."""

    low: float
    high: float
    count: int
    probability: float
    right: int


def reliability(probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS) -> list[Bin]:
    """The bins of a reliability diagram that hold anything, of probabilities [N, C] with truth [N] (DeGroot and Fienberg 1983)."""
    sure, right, place = _binned(probabilities, labels, bins)
    return [
        Bin(m / bins, (m + 1) / bins, int(own.sum()), float(sure[own].mean()), int(right[own].sum()))
        for m in range(bins)
        if (own := place == m).any()
    ]


def calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error of probabilities [N, C] with truth [N]: a fraction.

    Utterances are put into bins of equal width by the probability of their most probable label; the mean over bins,
    weighted by size, of the distance between that probability and the share that is right (Naeini et al. 2015; 15 bins
    as in Guo et al. 2017, "On calibration of modern neural networks", arXiv 1706.04599, equation 3).
    """
    sure, right, place = _binned(probabilities, labels, bins)
    excess = np.bincount(place, sure - right, minlength=bins)
    return float(np.abs(excess).sum() / len(right))


def _binned(
    probabilities: ArrayLike, labels: ArrayLike, bins: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """The largest probability of each, whether its label is right, and its bin; [N] each."""
    values, truth = _checked(probabilities, labels)
    sure = values.max(1)
    place = np.clip(np.ceil(sure * bins).astype(np.int64) - 1, 0, bins - 1)  # bin m is ((m - 1) / M, m / M]
    return sure, values.argmax(1) == truth, place


def _checked(values: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    scores, truth = np.asarray(values, np.float64), np.asarray(labels)
    if scores.ndim != 2 or truth.shape != scores.shape[:1] or not scores.size or not np.isfinite(scores).all():
        raise InputError(f"expected finite values [N, C] and labels [N], got {scores.shape} and {truth.shape}")
    return scores, truth.astype(np.int64)
