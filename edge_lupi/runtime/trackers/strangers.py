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
        self._seconds: dict[str, float] = {}  # of speech
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
        cosines = np.vecdot(self._voices[: len(self._rows)], voice).tolist()  # in one thread, see `Gallery.match`
        return {name: cosines[row] for name, row in self._rows.items()}

    def heard(self, name: str) -> tuple[Array, float] | None:
        """The sum [D] of somebody's turns, weighted by their segments, and the seconds of speech; None of nobody known."""
        row = self._rows.get(name)
        return None if row is None else (self._sums[row].copy(), self._seconds[name])

    def remove(self, name: str) -> None:
        """Forget somebody, if they are there; the last row takes the place of theirs."""
        row = self._rows.pop(name, None)
        if row is None:
            return
        del self._seconds[name]
        last = len(self._rows)
        for other, place in self._rows.items():
            if place == last:
                self._rows[other] = row
                self._sums[row], self._voices[row] = self._sums[last], self._voices[last]

    def add(self, name: str, voice: Array, segments: int, seconds: float = 0.0) -> None:
        """One more turn: its unit vector [D], how many segments it had, and how long it was."""
        if not self._sums.size:
            self._sums, self._voices = (np.zeros((self._most, len(voice)), np.float32) for _ in range(2))
        row = self._rows.pop(name) if name in self._rows else self._empty_row()
        self._rows[name] = row
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds
        self._sums[row] += segments * voice
        self._voices[row] = unit(self._sums[row])

    def _empty_row(self) -> int:
        """The next row, or that of whom is forgotten for it."""
        row = len(self._rows)
        if row == self._most:
            longest_ago = next(iter(self._rows))
            row = self._rows.pop(longest_ago)
            del self._seconds[longest_ago]
        self._sums[row] = 0
        return row
