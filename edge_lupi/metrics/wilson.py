"""Wilson score interval of a share: how many of how many in, Interval out."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

from edge_lupi.errors import InputError
from edge_lupi.metrics.bootstrap import Interval

__all__ = ["wilson"]


def wilson(hits: int, count: int, level: float = 0.95) -> Interval:
    """The share of hits, and where the true one lies if each item is drawn for itself (Wilson 1927). Also with none or all right."""
    if not 0 <= hits <= count or not count or not 0 < level < 1:
        raise InputError(f"expected hits of one item or more and a level between 0 and 1, got {hits}, {count}, {level}")
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, weight = hits / count, z * z / count
    middle = (share + weight / 2) / (1 + weight)
    reach = z * sqrt(share * (1 - share) / count + weight / (4 * count)) / (1 + weight)
    return Interval(share, max(0.0, middle - reach), min(1.0, middle + reach))
