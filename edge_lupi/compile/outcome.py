"""EER or UAR of one encoder, kept trial by trial or utterance by utterance, and a paired test beside the float student's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lupi.compile.findings import Loss
from edge_lupi.metrics.bootstrap import bootstrap
from edge_lupi.metrics.classification import uar
from edge_lupi.metrics.verification import eer

__all__ = ["Outcome"]


@dataclass(frozen=True)
class Outcome:
    """Of every item what a student said and what is true, [N]: cosines of trials (`eer`), or classes of utterances (`uar`).

    `groups` [N] are drawn as a whole: the enrolled recordings of trials, or each utterance for itself.
    """

    metric: str
    said: NDArray[Any]
    truth: NDArray[Any]
    groups: NDArray[Any]

    @property
    def value(self) -> float:
        """The metric on all items, as a fraction."""
        return self._of(np.arange(len(self.truth)))

    def loss(self, reference: Outcome) -> Loss:
        """How much worse it is than the reference on the same items: the same ones are drawn for both (95 %, bootstrap)."""
        sign = 1 if self.metric == "eer" else -1

        def worse(chosen: NDArray[np.int64]) -> float:
            return sign * (self._of(chosen) - reference._of(chosen))

        interval = bootstrap(worse, groups=self.groups)
        if self.metric == "eer":
            return Loss(interval.value, interval.low, interval.high)
        right, before = self.said == self.truth, reference.said == reference.truth
        changed = int((before & ~right).sum()), int((right & ~before).sum())
        return Loss(interval.value, interval.low, interval.high, *changed)

    def _of(self, chosen: NDArray[np.int64]) -> float:
        said, truth = self.said[chosen], self.truth[chosen]
        return float(eer(said, truth).value if self.metric == "eer" else uar(truth, said))
