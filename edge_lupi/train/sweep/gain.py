"""Gains of a sweep: UAR per arm, and its difference to the reference with a paired bootstrap interval. Results -> Summary.

Every test speaker is drawn with replacement, and every seed: an interval holds for other speakers of the same corpus and
for other first weights (two-way bootstrap; Owen 2007, "The pigeonhole bootstrap"). Where there are fewer than five
speakers, utterances are drawn in their place, and the interval says nothing of other voices. The same draws serve all
arms, so gains are paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_lupi.metrics.bootstrap import Interval
from edge_lupi.metrics.classification import uar
from edge_lupi.train.sweep.result import Result

__all__ = ["ArmSummary", "Over", "Summary", "distance_to_teacher", "summarise"]

RESAMPLES = 2000
FEWEST_SPEAKERS = 5
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Over:
    """An arm's gain over another, and in how many trainings of how many it was nearer to the teacher of both."""

    gain: Interval
    nearer: int = 0
    of: int = 0


@dataclass(frozen=True)
class ArmSummary:
    """One arm in one condition; rates, gains and recalls are fractions. `against` is the arm that `gain` is over.

    `recall` is by label, `over` by arm, `by_fold` by fold; `distance` is the mean distance to the teacher where there is
    one, `seconds` the mean wall time of a training.
    """

    uar: Interval
    gain: Interval
    against: str
    over: dict[str, Over]
    by_seed: tuple[float, ...]
    by_fold: dict[str, float]
    recall: dict[str, float]
    distance: float | None
    seeds: tuple[int, ...]
    folds: tuple[str, ...]
    utterances: int
    seconds: float


Summary = dict[str, dict[str, ArmSummary]]  # by condition ("clean", "0 dB"), by arm


def summarise(results: Sequence[Result], references: Mapping[str, str], pairs: Sequence[Sequence[str]] = ()) -> Summary:
    """UAR and gain of every arm in every condition. `references` has the arm that an arm's gain is over.

    `pairs` name two arms each: the first is compared with the second, too.
    """
    return {condition: _summary(results, references, pairs, condition) for condition in results[0].said}


def _summary(
    results: Sequence[Result], references: Mapping[str, str], pairs: Sequence[Sequence[str]], condition: str
) -> dict[str, ArmSummary]:
    arms = list(dict.fromkeys(r.arm for r in results))
    hits, counts = _tables(results, arms, condition)  # [A, seeds, groups, C], [seeds, groups, C]
    drawn = _draws(*counts.shape[:2])
    spread = {arm: _uars(hits[a], counts, *drawn) for a, arm in enumerate(arms)}
    recall = dict(zip(arms, hits.sum(2) / counts.sum(1), strict=True))  # of each arm [seeds, C]
    value = {arm: float(rates.mean()) for arm, rates in recall.items()}

    def gain(arm: str, other: str) -> Interval:
        return _interval(value[arm] - value[other], spread[arm] - spread[other])

    summary = {}
    for arm in arms:
        reference = references.get(arm, arms[0])
        others = [other for one, other in pairs if one == arm and other in arms]
        summary[arm] = _arm_summary(
            [r for r in results if r.arm == arm],
            condition,
            recall[arm],
            uar=_interval(value[arm], spread[arm]),
            gain=gain(arm, reference),
            against=reference,
            over={other: Over(gain(arm, other), *_nearer(results, arm, other)) for other in others},
        )
    return summary


def _arm_summary(
    results: Sequence[Result],
    condition: str,
    recall: Floats,
    *,
    uar: Interval,
    gain: Interval,
    against: str,
    over: dict[str, Over],
) -> ArmSummary:
    """What is told of an arm, of whose trainings these are the results; `recall` [seeds, C]."""
    distances = [r.distance for r in results if r.distance is not None]
    return ArmSummary(
        uar=uar,
        gain=gain,
        against=against,
        over=over,
        by_seed=tuple(recall.mean(1).tolist()),
        by_fold=_by_fold(results, condition),
        recall=dict(zip(results[0].labels, recall.mean(0).tolist(), strict=True)),
        distance=float(np.mean(distances)) if distances else None,
        seeds=tuple(sorted({r.seed for r in results})),
        folds=tuple(sorted({r.fold for r in results})),
        utterances=len({name for r in results for name in r.names}),
        seconds=float(np.mean([r.seconds for r in results])),
    )


def _tables(results: Sequence[Result], arms: list[str], condition: str) -> tuple[Floats, Floats]:
    """How many utterances of a class each speaker (or each utterance) has with a seed, and how many of them an arm told rightly.

    Seeds differ in their speakers where they draw them, as validation speakers are.
    """
    seeds = sorted({r.seed for r in results})
    speakers = sorted({s for r in results for s in r.speakers})
    whose = [r.speakers if len(speakers) >= FEWEST_SPEAKERS else r.names for r in results]
    groups = {name: number for number, name in enumerate(sorted({name for names in whose for name in names}))}
    hits = np.zeros((len(arms), len(seeds), len(groups), len(results[0].labels)))
    counts = np.zeros((len(arms), len(seeds), *hits.shape[2:]))
    for r, names in zip(results, whose, strict=True):
        place = (arms.index(r.arm), seeds.index(r.seed))
        rows, truth = np.array([groups[name] for name in names]), np.array(r.truth)
        np.add.at(counts[place], (rows, truth), 1)
        np.add.at(hits[place], (rows, truth), truth == np.array(r.said[condition]))
    return hits, counts[0]


def _draws(seeds: int, groups: int) -> tuple[Floats, Floats]:
    """How often each seed [R, seeds] and each group [R, groups] is drawn."""
    random = np.random.default_rng(0)
    return (
        random.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES).astype(float),
        random.multinomial(groups, np.full(groups, 1 / groups), RESAMPLES).astype(float),
    )


def _uars(hits: Floats, counts: Floats, seeds: Floats, groups: Floats) -> Floats:
    """UAR of every resample [R]; classes that a resample lacks do not count in it."""
    right, there = (np.einsum("rs,rg,sgc->rc", seeds, groups, table, optimize=True) for table in (hits, counts))
    recall = np.divide(right, there, out=np.zeros_like(right), where=there > 0)
    classes = (there > 0).sum(1)
    result: Floats = np.divide(recall.sum(1), classes, out=np.full(len(recall), np.nan), where=classes > 0)
    return result


def _interval(value: float, spread: Floats) -> Interval:
    low, high = np.nanquantile(spread, [0.025, 0.975])  # NaN: nobody of the seeds that were drawn
    return Interval(value, float(low), float(high))


def _nearer(results: Sequence[Result], arm: str, other: str) -> tuple[int, int]:
    """In how many trainings an arm was nearer than another to the teacher of both, and of how many."""
    mine, theirs = (
        {(r.fold, r.seed, *r.teachers): r.distance for r in results if r.arm == of and r.distance is not None}
        for of in (arm, other)
    )
    both = [(mine[key], theirs[key]) for key in mine if key in theirs]
    return sum(one < two for one, two in both), len(both)


def _by_fold(results: Sequence[Result], condition: str) -> dict[str, float]:
    folds = sorted({r.fold for r in results})
    return {f: float(np.mean([uar(r.truth, r.said[condition]) for r in results if r.fold == f])) for f in folds}


def distance_to_teacher(student: Floats, teacher: Floats, scale: Floats) -> float | None:
    """Mean squared distance of utterance embeddings [N, D] to the teacher's, in its own spread (scale [2, D]); None where widths differ."""
    if student.shape != teacher.shape:
        return None
    return float(np.mean(((teacher - scale[0]) / scale[1] - student) ** 2))
