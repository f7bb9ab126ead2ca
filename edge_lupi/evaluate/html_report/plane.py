"""Map of embeddings: float [N, D] in, places in a plane [N, 2] out, by principal components; numpy only.

No labels go into it, so classes that lie apart on it lie apart. Two models' maps are turned towards each other, as the
axes of principal components have no direction of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_lupi.vectors import Array

__all__ = ["Plane", "plane", "turned_towards"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Plane:
    """Places [N, 2], centred, and the share of the embeddings' variance that they show."""

    places: Floats
    share: float


def plane(embeddings: Array) -> Plane:
    """The first two principal components of unit vectors (Pearson 1901); of one dimension or item the others are 0."""
    vectors = np.asarray(embeddings, np.float64)
    vectors = vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-12)
    centred = vectors - vectors.mean(0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(vectors), 2))
    places[:, : min(2, len(sizes))] = (left * sizes)[:, :2]
    total = float((sizes**2).sum())
    return Plane(places, float((sizes[:2] ** 2).sum() / total) if total > 0 else 1.0)


def turned_towards(moved: Plane, fixed: Plane) -> Plane:
    """The same map, turned or mirrored so that its items lie next to those of the other (orthogonal Procrustes, Schönemann 1966)."""
    left, _, right = np.linalg.svd(moved.places.T @ fixed.places)
    return Plane(moved.places @ (left @ right), moved.share)
