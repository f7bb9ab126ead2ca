"""Reports: the figures of a measurement, each with its 95 % bootstrap interval, as text and as JSON.

The interval is over enrolled recordings for trials, over utterances (or groups of them, as speakers) for classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lupi.metrics.bootstrap import Interval, bootstrap
from edge_lupi.metrics.classification import accuracy, confusion, uar
from edge_lupi.metrics.confidence import calibration_error
from edge_lupi.metrics.verification import eer, min_dcf
from edge_lupi.vectors import Array
from edge_lupi.words import printable

__all__ = ["ClassReport", "TrialReport", "class_report", "trial_report"]


@dataclass(frozen=True)
class TrialReport:
    """Verification on a trial list."""

    task: str
    eer: Interval
    min_dcf: float
    trials: int
    targets: int

    def plain(self) -> dict[str, Any]:
        """As JSON has it; rates are fractions."""
        value = self.eer
        return {
            "task": self.task,
            "metric": "eer",
            "value": value.value,
            "low": value.low,
            "high": value.high,
            "min_dcf": self.min_dcf,
            "trials": self.trials,
            "targets": self.targets,
        }

    def text(self) -> str:
        """For people."""
        return f"EER {_percent(self.eer)}   minDCF(0.01) {self.min_dcf:.3f}   {self.trials} trials, {self.targets} of the same voice"


@dataclass(frozen=True)
class ClassReport:
    """Classification of utterances. `ece` says how far its probabilities are from what comes true."""

    task: str
    uar: Interval
    accuracy: float
    labels: tuple[str, ...]
    confusion: NDArray[np.int64]
    ece: float

    def plain(self) -> dict[str, Any]:
        """As JSON has it; rates are fractions."""
        value = self.uar
        return {
            "task": self.task,
            "metric": "uar",
            "value": value.value,
            "low": value.low,
            "high": value.high,
            "accuracy": self.accuracy,
            "ece": self.ece,
            "utterances": int(self.confusion.sum()),
            "labels": list(self.labels),
            "confusion": self.confusion.tolist(),
        }

    def text(self) -> str:
        """For people: the figures, and who is taken for whom (rows the truth)."""
        labels = [printable(label) for label in self.labels]
        width = max(len(label) for label in labels) + 1
        columns = [max(len(label), 5) + 2 for label in labels]
        head = " " * width + "".join(f"{label:>{cells}}" for label, cells in zip(labels, columns, strict=True))
        rows = [
            f"{label:<{width}}" + "".join(f"{n:{cells}d}" for n, cells in zip(row, columns, strict=True))
            for label, row in zip(labels, self.confusion, strict=True)
        ]
        return "\n".join(
            [
                f"UAR {_percent(self.uar)}   accuracy {100 * self.accuracy:.1f} %   ECE {100 * self.ece:.1f} %   {int(self.confusion.sum())} utterances",
                "",
                head,
                *rows,
            ]
        )


def class_report(
    task: str,
    labels: Sequence[str],
    truth: NDArray[np.int64],
    probabilities: Array,
    groups: NDArray[Any] | None = None,
) -> ClassReport:
    """The figures of truth [N] and probabilities [N, C]; the interval is over groups [N], as speakers, where they are given."""
    said = probabilities.argmax(1)
    alone = np.arange(len(truth)) if groups is None else groups
    interval = bootstrap(lambda chosen: uar(truth[chosen], said[chosen]), groups=alone)
    matrix = confusion(truth, said, range(len(labels)))
    ece = calibration_error(probabilities, truth)
    return ClassReport(task, interval, accuracy(truth, said), tuple(labels), matrix, ece)


def trial_report(task: str, scores: Array, targets: NDArray[np.bool_], enrolled: NDArray[Any]) -> TrialReport:
    """The figures of cosines [N] and truth [N]; the interval is over the enrolled recordings [N]."""
    interval = bootstrap(lambda chosen: eer(scores[chosen], targets[chosen]).value, groups=enrolled)
    if (
        interval.value == 0
    ):  # resampling a list without an error shows none: the rule of three (Hanley and Lippman-Hand 1983)
        interval = Interval(0.0, 0.0, max(interval.high, min(1.0, 3 / int(targets.sum()))))
    return TrialReport(task, interval, min_dcf(scores, targets), len(scores), int(targets.sum()))


def _percent(interval: Interval) -> str:
    return f"{100 * interval.value:.1f} % (95 %: {100 * interval.low:.1f} to {100 * interval.high:.1f})"
