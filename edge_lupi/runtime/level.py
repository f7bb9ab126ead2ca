"""Level normalisation: quiet speech raised to the level of the student's training. log-mel float32 [B, 80, 1, F] -> the same.

The log-mel has a floor, so what is quiet loses its weakest bands in it, and another voice comes out. A segment that is well
below the level of the bundle's golden speech, which is of its training, is computed as if it had been louder: to the last
digit what the front end gives for louder samples. What is louder stays as it is, so a loud segment says that it is loud.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_lupi.frames import LOG_FLOOR
from edge_lupi.runtime.gates.gate import FULL_SCALE_POWER

__all__ = ["Level"]

Array = NDArray[np.float32]
MARGIN_DB = 3.0  # below the golden speech: what one utterance more or less may differ by
MOST_DB = 30.0  # what is quieter still is noise
SURE_DB = 0.1  # by which a level that was measured elsewhere must lie above, so that no rounding matters


class Level:
    """Of one student, by its golden samples float32 [T]."""

    def __init__(self, golden: Array) -> None:
        power = float(np.square(golden, dtype=np.float64).mean()) if len(golden) else 0.0
        self.least_db = 10 * np.log10(max(power, 1e-9)) - MARGIN_DB

    def raised(self, segments: Array, levels_db: Sequence[float] | None = None) -> Array:
        """log-mel [B, 80, 1, F], those of quiet segments raised; each for itself.

        Where `levels_db` [B], as `Segment` has them, are all loud enough, nothing has to be computed.
        """
        if levels_db is not None and min(levels_db) > self.least_db + SURE_DB:
            return segments
        power = np.exp(segments)
        measured_db = 10 * np.log10(power.sum(1).mean((1, 2)) / FULL_SCALE_POWER)
        gains_db = np.clip(self.least_db - measured_db, 0, MOST_DB)
        quiet = np.flatnonzero(gains_db)
        if not len(quiet):
            return segments
        gain = (10 ** (gains_db[quiet] / 10)).astype(np.float32)[:, None, None, None]
        floor = np.float32(LOG_FLOOR)
        out: Array = segments.copy()
        out[quiet] = np.log(np.maximum(power[quiet] - floor, 0) * gain + floor)
        return out
