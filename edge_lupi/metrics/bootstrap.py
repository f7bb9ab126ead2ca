"""Bootstrap confidence intervals: a figure of items [N] in, Interval out; numpy only.

bootstrap(lambda i: eer(scores[i], targets[i]).value, groups=speakers)    # Interval(value, low, high)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_lupi.errors import InputError

__all__ = ["Indices", "Interval", "bootstrap"]

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """A figure with the bounds between which it lies at the level asked for."""

    value: float
    low: float
    high: float


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
    resampled = [_value(statistic, groups_of.members(draw.integers(count, size=count))) for _ in range(resamples)]
    values = np.array(resampled)[~np.isnan(resampled)]
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
