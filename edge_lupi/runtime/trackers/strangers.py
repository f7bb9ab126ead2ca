"""Unknown speakers' voices, by the number they were given. Unit vectors [D] in, cosines out; at most 200 are remembered."""

from __future__ import annotations

import numpy as np

from edge_lupi.vectors import Array, unit

__all__ = ["MOST", "Strangers"]

MOST = 200


class Strangers:
    """A voice is the mean of its turns, weighted by their segments. Who was heard longest ago is forgotten first."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._rows: dict[str, int] = {}  # last heard, last in line
        self._sums: Array = np.zeros((0, 0), np.float32)  # [most, D], allocated once
        self._voices: Array = np.zeros((0, 0), np.float32)  # the same as unit vectors

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def likeness(self, voice: Array) -> dict[str, float]:
        """The cosine of everyone with a unit vector [D]."""
        if not self._rows:
            return {}
        cosines = np.einsum(
            "nd,d->n", self._voices[: len(self._rows)], voice
        ).tolist()  # in one thread, see `Gallery.match`
        return {name: cosines[row] for name, row in self._rows.items()}

    def add(self, name: str, voice: Array, segments: int) -> None:
        """One more turn: its unit vector [D], and how many segments it had."""
        if not self._sums.size:
            self._sums, self._voices = (np.zeros((self._most, len(voice)), np.float32) for _ in range(2))
        row = self._rows.pop(name) if name in self._rows else self._empty_row()
        self._rows[name] = row
        self._sums[row] += segments * voice
        self._voices[row] = unit(self._sums[row])

    def _empty_row(self) -> int:
        """The next row, or that of whom is forgotten for it."""
        full = len(self._rows) == self._most
        row = self._rows.pop(next(iter(self._rows))) if full else len(self._rows)
        self._sums[row] = 0
        return row
