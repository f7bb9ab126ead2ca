"""Agglomerative clustering with average linkage: groups of unit vectors in, a cluster number of each out; numpy only.

    labels = clusters(sums, counts, names, least=0.55)    # [N, D], [N], N names or None -> int64 [N]

The two clusters whose members have the largest mean cosine are joined, again and again, down to `least`. Found by chains
of nearest neighbours (Murtagh 1983, "A survey of recent advances in hierarchical clustering algorithms"): N * N steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_lupi.vectors import Array

__all__ = ["clusters"]

Numbers = NDArray[np.int64]
BLOCK = 4000  # groups that are compared at once: 128 MB; those of more blocks join cluster by cluster


def clusters(sums: Array, counts: Numbers, names: Sequence[str | None], *, least: float) -> Numbers:
    """Groups of `counts` [N] unit vectors each, as their sums [N, D]. Two that bear different names are never joined."""
    labels = np.arange(len(sums))
    for end in range(BLOCK, len(sums) + BLOCK, BLOCK):
        members, places = np.unique(labels[:end], return_inverse=True)
        block = np.zeros((len(members), sums.shape[1]), np.float32)
        sizes = np.zeros(len(members), np.int64)
        np.add.at(block, places, sums[:end])
        np.add.at(sizes, places, counts[:end])
        named: list[str | None] = [None] * len(members)
        for place, name in zip(places.tolist(), names[:end], strict=True):
            named[place] = named[place] or name
        labels[:end] = members[_linked(block, sizes, named, least)[places]]
    return labels


def _linked(sums: Array, counts: Numbers, names: Sequence[str | None], least: float) -> Numbers:
    """The cluster of each, as the place of one of its members."""
    cosines = (sums @ sums.T) / np.outer(counts, counts).astype(np.float32)
    for row, name in enumerate(names):
        if name is not None:
            cosines[row, [other not in (None, name) for other in names]] = -np.inf
    np.fill_diagonal(cosines, -np.inf)
    cosines = np.minimum(cosines, cosines.T)
    sizes, owner = counts.astype(np.float64), np.arange(len(sums))
    is_open, chain = np.ones(len(sums), np.bool_), list[int]()
    while is_open.sum() > 1:
        if not chain:
            chain = [int(is_open.argmax())]
        nearest = int(cosines[chain[-1]].argmax())
        if len(chain) > 1 and cosines[chain[-1], chain[-2]] >= cosines[chain[-1], nearest]:
            last, kept = chain.pop(), chain.pop()
            if cosines[last, kept] >= least:
                _join(cosines, sizes, kept, last)
                owner[owner == last] = kept
                is_open[last] = False
            else:  # each is the other's nearest, so nothing is near enough to either
                cosines[:, [last, kept]] = -np.inf
                cosines[[last, kept]] = -np.inf
                is_open[[last, kept]] = False
        elif cosines[chain[-1], nearest] == -np.inf:
            is_open[chain.pop()] = False
        else:
            chain.append(nearest)
    return owner


def _join(cosines: NDArray[np.float32], sizes: NDArray[np.float64], kept: int, last: int) -> None:
    """The row of two clusters together; the other's is empty then."""
    share = sizes[last] / (sizes[kept] + sizes[last])
    row = (1 - share) * cosines[kept] + share * cosines[last]  # nothing is nearer to what either may not join
    sizes[kept] += sizes[last]
    cosines[kept], cosines[:, kept] = row, row
    cosines[last], cosines[:, last] = -np.inf, -np.inf
