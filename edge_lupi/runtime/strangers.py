"""Voices that nobody enrolled, by the number they were given. Unit vectors [D] in, cosines out; at most 200 are remembered."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST", "Strangers", "unit"]

Array = NDArray[np.float32]
MOST = 200


class Strangers:
    """A voice is the mean of its turns, weighted by their segments. Who was heard longest ago is forgotten first."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._sums: dict[str, Array] = {}
        self._names: list[str] = []
        self._voices: Array = np.zeros((0, 0), np.float32)  # unit vectors [N, D], in the order of the names

    def __contains__(self, name: object) -> bool:
        return name in self._sums

    def __len__(self) -> int:
        return len(self._names)

    def likeness(self, voice: Array) -> dict[str, float]:
        """The cosine of everyone with a unit vector [D]."""
        if not self._names:
            return {}
        return dict(zip(self._names, (self._voices @ voice).tolist(), strict=True))

    def add(self, name: str, voice: Array, segments: int) -> None:
        """One more turn: its unit vector [D], and how many segments it had."""
        known = self._sums.pop(name, np.zeros_like(voice))
        self._sums[name] = known + segments * voice  # last heard, last in line
        if len(self._sums) > self._most:
            del self._sums[next(iter(self._sums))]
        self._names = list(self._sums)
        self._voices = np.stack([unit(total) for total in self._sums.values()])


def unit(vector: Array) -> Array:
    """The vector [D] scaled to length one."""
    return (vector / (np.linalg.norm(vector) + 1e-12)).astype(np.float32)
