"""Verification measures: EER, minDCF, DET, open-set rates. Scores and truth of trials [N] in, floats out; numpy only.

    value, threshold = eer(scores, targets)

Rates are fractions. A trial is accepted when its score is at least the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_lupi.errors import InputError

__all__ = [
    "Det",
    "Eer",
    "OpenSet",
    "Rates",
    "det",
    "eer",
    "min_dcf",
    "open_set",
    "rates",
    "threshold_for",
]

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


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
class _Points:
    """The ROC: counts of misses and of false alarms, int64 [K], at rising thresholds [K], of so many (non-)targets."""

    misses: Counts
    alarms: Counts
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
