"""Classification measures: accuracy, unweighted average recall, confusion. Labels and predictions [N] in; numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_lupi.errors import InputError

__all__ = ["accuracy", "confusion", "uar"]


def accuracy(labels: ArrayLike, predictions: ArrayLike) -> float:
    """Share of predictions [N] that are the label [N]."""
    truth, said = _pair(labels, predictions)
    return float(np.mean(truth == said))


def uar(labels: ArrayLike, predictions: ArrayLike) -> float:
    """Unweighted average recall: the mean, over the classes among the labels, of the share of each that is found.

    The measure of the INTERSPEECH 2009 Emotion Challenge (Schuller, Steidl, Batliner); chance is 1 / classes.
    """
    truth, said = _pair(labels, predictions)
    _, which, count = np.unique(truth, return_inverse=True, return_counts=True)
    return float(np.mean(np.bincount(which[truth == said], minlength=len(count)) / count))


def confusion(labels: ArrayLike, predictions: ArrayLike, classes: Sequence[Any]) -> NDArray[np.int64]:
    """How often class r was called class c: int64 [C, C], rows the truth, in the order of `classes`."""
    truth, said = _pair(labels, predictions)
    place = {name: index for index, name in enumerate(classes)}
    try:
        cells = [place[r] * len(place) + place[c] for r, c in zip(truth.tolist(), said.tolist(), strict=True)]
    except KeyError as error:
        raise InputError(
            f"expected the classes {', '.join(map(str, classes))}, got {error}: name every class"
        ) from error
    return np.bincount(cells, minlength=len(place) ** 2).reshape(len(place), len(place)).astype(np.int64)


def _pair(labels: ArrayLike, predictions: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    truth, said = np.asarray(labels), np.asarray(predictions)
    if truth.ndim != 1 or truth.shape != said.shape or not len(truth):
        raise InputError(f"expected one prediction per label, got labels {truth.shape} and predictions {said.shape}")
    return truth, said
