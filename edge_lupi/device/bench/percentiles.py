"""Percentiles with intervals by order statistics: times in milliseconds in, Percentiles out; none where they are too few.

Of n independent times, how many lie below the true quantile is binomial, so two of the sorted times enclose it with 95 %,
whatever the distribution. Where even the largest may lie below it (p99 of fewer than 368), the count does not carry that
percentile, and it is None. Hops of a busy machine hang together, which makes the intervals a little too narrow.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from math import ceil, exp, lgamma, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["QUANTILES", "Percentiles", "least_count"]

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
MISSED = 0.025  # on either side of a 95 % interval


@dataclass(frozen=True)
class Percentiles:
    """`count` times, in milliseconds. `intervals_ms` are 95 % intervals (low, high) by the name of the percentile."""

    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    max_ms: float
    count: int
    intervals_ms: dict[str, tuple[float, float]]

    @classmethod
    def of(cls, times_ms: NDArray[np.float64]) -> Percentiles:
        """Of times [n] in milliseconds, n of one or more."""
        in_order = np.sort(times_ms)
        ranks = {name: _ranks(len(in_order), quantile) for name, quantile in QUANTILES.items()}
        p50, p90, p99 = (
            float(np.percentile(in_order, 100 * quantile)) if ranks[name] else None
            for name, quantile in QUANTILES.items()
        )
        intervals = {
            name: (float(in_order[pair[0] - 1]), float(in_order[pair[1] - 1])) for name, pair in ranks.items() if pair
        }
        return cls(p50, p90, p99, float(in_order[-1]), len(in_order), intervals)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    def row(self) -> str:
        """p50, p90, p99 and the largest, in columns; a dash where the count does not carry it."""
        values = (self.p50_ms, self.p90_ms, self.p99_ms, self.max_ms)
        return "".join(f"{'-':>9}" if value is None else f"{value:9.3f}" for value in values)


def least_count(quantile: float) -> int:
    """So many times carry this quantile on both sides."""
    return ceil(log(MISSED) / log(max(quantile, 1 - quantile)))


@cache
def _ranks(count: int, quantile: float) -> tuple[int, int] | None:
    """Ranks, from 1, of the two sorted times that enclose the quantile; None where there are no such two."""
    if count < least_count(quantile):
        return None
    below = np.cumsum([_binomial(k, count, quantile) for k in range(count + 1)])  # P(at most k times below it)
    low = int(np.searchsorted(below, MISSED, "right"))
    high = int(np.searchsorted(below, 1 - MISSED)) + 1
    return max(1, low), min(count, high)


def _binomial(k: int, count: int, share: float) -> float:
    """The probability of k in so many, by logarithms, which large counts need."""
    ways = lgamma(count + 1) - lgamma(k + 1) - lgamma(count - k + 1)
    return exp(ways + k * log(share) + (count - k) * log(1 - share))
