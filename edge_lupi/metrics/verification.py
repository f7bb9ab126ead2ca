"""Measures of verification and of classification, and how far to trust them. Arrays in, floats out; numpy only.

    value, threshold = eer(scores, targets)
    bootstrap(lambda i: eer(scores[i], targets[i]).value, groups=speakers)    # Interval(value, low, high)

Rates are fractions. A trial is accepted when its score is at least the threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_lupi.errors import InputError

__all__ = [
    "Det",
    "Eer",
    "Interval",
    "OpenSet",
    "Rates",
    "accuracy",
    "bootstrap",
    "confusion",
    "det",
    "eer",
    "min_dcf",
    "open_set",
    "rates",
    "threshold_for",
    "uar",
]

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


class Eer(NamedTuple):
    """The equal error rate and the score at which it is met."""

    value: float
    threshold: float


class Rates(NamedTuple):
    """Shares of the non-target trials that are accepted and of the target trials that are refused."""

    false_accepts: float
    false_rejects: float


class OpenSet(NamedTuple):
    """Identification among enrolled people when others speak too; NaN where nobody of that kind spoke.

    `false_accepts`: of those not enrolled, the share given a name. `misses`: of the enrolled, the share not given their
    own name. `accuracy`: of the enrolled, the share most like themselves, whatever the threshold.
    """

    false_accepts: float
    misses: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class Det:
    """Both error rates [K] at rising thresholds [K]: all that a detection error trade-off curve shows."""

    false_accepts: Floats
    false_rejects: Floats
    thresholds: Floats


@dataclass(frozen=True)
class Interval:
    """A figure with the bounds between which it lies at the level asked for."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class _Points:
    """The ROC: counts of misses and of false alarms, int64 [K], at rising thresholds [K], of so many (non-)targets."""

    misses: Indices
    alarms: Indices
    thresholds: Floats
    targets: int
    nontargets: int


def eer(scores: ArrayLike, targets: ArrayLike) -> Eer:
    """Equal error rate of scores [N] with truth [N] (1 same voice, 0 another): where as large a share is missed as let in.

    Between the two operating points around it the ROC is taken as a straight line; equal scores are one point (Martin et
    al. 1997, "The DET curve in assessment of detection task performance").
    """
    points = _operating_points(scores, targets)
    excess = points.misses * points.nontargets - points.alarms * points.targets  # integers: exact, and strictly rising
    above = int(np.searchsorted(excess, 0))
    share = float(-excess[above - 1] / (excess[above] - excess[above - 1]))
    missed = points.misses[above - 1] + share * (points.misses[above] - points.misses[above - 1])
    low, high = points.thresholds[above - 1], points.thresholds[above]
    return Eer(float(missed / points.targets), float(low + share * (high - low)))


def min_dcf(
    scores: ArrayLike, targets: ArrayLike, p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0
) -> float:
    """Least detection cost over all thresholds, over the cost of the better of accepting all and refusing all; in [0, 1].

    NIST speaker recognition evaluation plans (2016 and after): c_miss * p * P(miss) + c_fa * (1 - p) * P(false alarm).
    """
    if not (0 < p_target < 1 and c_miss > 0 and c_fa > 0):
        raise InputError(
            f"expected a prior between 0 and 1 and costs above 0, got prior {p_target}, costs {c_miss} and {c_fa}"
        )
    points = _operating_points(scores, targets)
    missing, alarming = c_miss * p_target, c_fa * (1 - p_target)
    cost = missing * points.misses / points.targets + alarming * points.alarms / points.nontargets
    return float(cost.min() / min(missing, alarming))


def rates(scores: ArrayLike, targets: ArrayLike, threshold: float) -> Rates:
    """False accepts and false rejects of scores [N] with truth [N] at a threshold (ISO/IEC 19795-1, FMR and FNMR)."""
    values, truth = _trials(scores, targets)
    accepted = values >= threshold
    return Rates(float(accepted[~truth].mean()), float(1 - accepted[truth].mean()))


def det(scores: ArrayLike, targets: ArrayLike) -> Det:
    """Both error rates at every threshold that tells scores [N] with truth [N] apart (Martin et al. 1997, as for `eer`)."""
    points = _operating_points(scores, targets)
    return Det(points.alarms / points.nontargets, points.misses / points.targets, points.thresholds)


def threshold_for(nontarget_scores: ArrayLike, false_accepts: float) -> float:
    """The lowest threshold at which one more non-target trial like these [N] is accepted with at most this probability.

    Just above the ceil((N + 1) (1 - rate))-th smallest score: the quantile of split conformal prediction (Vovk,
    Gammerman and Shafer 2005), right for any distribution. Just above them all where N is too small for the rate.
    """
    values = np.asarray(nontarget_scores, np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all() or not 0 < false_accepts < 1:
        raise InputError(
            f"expected finite scores [N] and a rate between 0 and 1, got scores {values.shape} and rate {false_accepts}"
        )
    rank = min(len(values), int(np.ceil((len(values) + 1) * (1 - false_accepts) - 1e-9)))
    return float(np.nextafter(np.partition(values, rank - 1)[rank - 1], np.inf))


def open_set(scores: ArrayLike, owners: ArrayLike, thresholds: ArrayLike) -> OpenSet:
    """Scores [N, P] of N utterances against P enrolled people; owners [N] say whose each is, -1 nobody's of them.

    The rates of NIST's face recognition evaluations and of ISO/IEC 19795-1 (FPIR, FNIR at rank one, identification
    rate); `thresholds` is one number or one per utterance [N].
    """
    values, whose = np.asarray(scores, np.float64), np.asarray(owners)
    if values.ndim != 2 or not values.size or whose.shape != values.shape[:1] or not np.isfinite(values).all():
        raise InputError(f"expected finite scores [N, P] and owners [N], got {values.shape} and {whose.shape}")
    named = values.max(1) >= np.asarray(thresholds)
    right = values.argmax(1) == whose
    stranger = whose < 0

    def share(of: NDArray[np.bool_], among: NDArray[np.bool_]) -> float:
        return float(of[among].mean()) if among.any() else float("nan")

    return OpenSet(share(named, stranger), share(~(named & right), ~stranger), share(right, ~stranger))


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


def confusion(labels: ArrayLike, predictions: ArrayLike, classes: Sequence[Any]) -> Indices:
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


def bootstrap(
    statistic: Callable[[Indices], float],
    *,
    n: int | None = None,
    groups: ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of `statistic(indices)`: n items, or whole groups [N], are drawn with replacement again and again.

    Items of one speaker or recording are alike, so draw the groups (Bisani and Ney 2004, "Bootstrap estimates for
    confidence intervals in ASR performance evaluation"). A resample without a value (no target in it: InputError or NaN)
    is left out; where that happens to half of them or more, an interval is refused.
    """
    if (n is None) == (groups is None) or not (0 < level < 1) or resamples < 1:
        raise InputError(
            f"expected n or groups, at least 1 resample and a level between 0 and 1, got n={n}, {resamples}, {level}"
        )
    groups_of = _Groups.of(np.arange(n or 0) if groups is None else np.asarray(groups))
    count = len(groups_of.sizes)
    value = float(statistic(np.sort(groups_of.items)))
    draw = np.random.default_rng(seed)
    found = [_value(statistic, groups_of.members(draw.integers(count, size=count))) for _ in range(resamples)]
    values = np.array(found)[~np.isnan(found)]
    if np.isnan(value) or 2 * len(values) <= resamples:
        raise InputError(
            f"expected resamples that have a value, got {len(values)} of {resamples}: bring more speakers or items"
        )
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


@dataclass(frozen=True)
class _Groups:
    """Indices of the items, group after group: group g is items[starts[g] : starts[g] + sizes[g]]."""

    items: Indices
    starts: Indices
    sizes: Indices

    @classmethod
    def of(cls, keys: NDArray[Any]) -> _Groups:
        if keys.ndim != 1 or not len(keys):
            raise InputError(f"expected at least one item to resample, got an array of shape {keys.shape}")
        _, which, sizes = np.unique(keys, return_inverse=True, return_counts=True)
        return cls(np.argsort(which, kind="stable"), np.cumsum(sizes) - sizes, sizes)

    def members(self, drawn: Indices) -> Indices:
        """The items of the drawn groups, without a loop over groups."""
        sizes = self.sizes[drawn]
        offsets = self.starts[drawn] - (np.cumsum(sizes) - sizes)
        chosen: Indices = self.items[np.arange(sizes.sum()) + np.repeat(offsets, sizes)]
        return chosen


def _value(statistic: Callable[[Indices], float], indices: Indices) -> float:
    try:
        return float(statistic(indices))
    except InputError:
        return float("nan")


def _operating_points(scores: ArrayLike, targets: ArrayLike) -> _Points:
    """One point below all scores, one between every two neighbours that differ, one above all."""
    values, truth = _trials(scores, targets)
    order = np.argsort(values)
    ranked, hits = values[order], truth[order].astype(np.int64)
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)  # of every run of equal scores
    misses = np.append(0, np.cumsum(hits)[last])
    refused = np.append(0, last + 1) - misses
    distinct = ranked[last]
    between = distinct[:-1] + (distinct[1:] - distinct[:-1]) / 2
    thresholds = np.concatenate([distinct[:1], between, [np.nextafter(distinct[-1], np.inf)]])
    return _Points(misses, refused[-1] - refused, thresholds, int(misses[-1]), int(refused[-1]))


def _trials(scores: ArrayLike, targets: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    values, truth = np.asarray(scores, np.float64), np.asarray(targets)
    if values.ndim != 1 or values.shape != truth.shape:
        raise InputError(f"expected one score per trial, got scores {values.shape} and targets {truth.shape}")
    if not np.isfinite(values).all():
        raise InputError(
            f"expected finite scores, got NaN or infinity in {int((~np.isfinite(values)).sum())} of {len(values)}"
        )
    if not np.isin(truth, (0, 1)).all():
        raise InputError("expected targets that are 0 or 1, got other values")
    truth = truth.astype(np.bool_)
    if not truth.any() or truth.all():
        raise InputError(
            f"expected target and non-target trials, got {int(truth.sum())} and {int((~truth).sum())}: give both"
        )
    return values, truth


def _pair(labels: ArrayLike, predictions: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    truth, said = np.asarray(labels), np.asarray(predictions)
    if truth.ndim != 1 or truth.shape != said.shape or not len(truth):
        raise InputError(f"expected one prediction per label, got labels {truth.shape} and predictions {said.shape}")
    return truth, said
