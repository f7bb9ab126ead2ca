"""Decision threshold by duration: seconds of speech in, the cosine asked of a voice out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_lupi.errors import InputError

__all__ = ["Threshold"]


@dataclass(frozen=True)
class Threshold:
    """`points` are (seconds, cosine), seconds rising. Between two of them it is a straight line over log seconds, outside flat.

    So it lies between its neighbours everywhere, and one point is a threshold that does not depend on the time.
    """

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        seconds = [second for second, _ in self.points]
        if not seconds or seconds != sorted(set(seconds)) or not all(0 < second < 1e6 for second in seconds):
            raise InputError(f"expected a threshold for rising seconds above 0, got {seconds}")
        for _, cosine in self.points:
            if not 0 < cosine <= 1:
                raise InputError(f"expected a threshold above 0 and at most 1 (a cosine), got {cosine}")

    @classmethod
    def constant(cls, cosine: float) -> Threshold:
        """The same however long somebody spoke."""
        return cls(((1.0, cosine),))

    def at(self, seconds: float) -> float:
        """The cosine to ask for after so many seconds of speech."""
        if len(self.points) == 1:
            return self.points[0][1]
        durations, cosines = zip(*self.points, strict=True)
        return float(np.interp(np.log(max(seconds, 1e-3)), np.log(durations), cosines))
