"""Calibration of probabilities: scores [..., C] in; softmax at a temperature, and the expected calibration error, out."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_lupi.errors import InputError

__all__ = ["BINS", "calibration_error", "negative_log_likelihood", "probabilities_of"]

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


def calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error of probabilities [N, C] with truth [N]: a fraction.

    Utterances are put into bins of equal width by the probability of their most probable label; the mean over bins,
    weighted by size, of the distance between that probability and the share that is right (Naeini et al. 2015; 15 bins
    as in Guo et al. 2017, "On calibration of modern neural networks", arXiv 1706.04599, equation 3).
    """
    values, truth = _checked(probabilities, labels)
    sure = values.max(1)
    right = values.argmax(1) == truth
    place = np.clip(np.ceil(sure * bins).astype(np.int64) - 1, 0, bins - 1)  # bin m is ((m - 1) / M, m / M]
    excess = np.bincount(place, sure - right, minlength=bins)
    return float(np.abs(excess).sum() / len(truth))


def _checked(values: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    scores, truth = np.asarray(values, np.float64), np.asarray(labels)
    if scores.ndim != 2 or truth.shape != scores.shape[:1] or not scores.size or not np.isfinite(scores).all():
        raise InputError(f"expected finite values [N, C] and labels [N], got {scores.shape} and {truth.shape}")
    return scores, truth.astype(np.int64)
