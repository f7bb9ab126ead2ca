"""Telephone speech: whether the band above 4 kHz is missing. log-mel of spoken segments in, yes or no once there are enough.

Students that learnt from 16 kHz take two such voices for one, and strangers for somebody they know. Of some 46
recordings of readers, actors and meetings the least had 31 dB less above 4.4 kHz than around 2 kHz; at 8 kHz all but two of
them had over 35 dB less.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_lupi.frames import LOG_FLOOR

__all__ = ["NARROW", "Band"]

ENOUGH_SEGMENTS = 6
UPPER, MIDDLE = slice(63, 80), slice(28, 56)  # mel bands centred above 4.4 kHz, and at 1 to 3.3 kHz
MISSING_DB = -35.0
NARROW = (
    "expected speech with the band up to 8 kHz, got none of it above 4 kHz, as on a telephone: "
    "people are taken for each other, so record at 16 kHz or more"
)


class Band:
    """The band of one stream, or of one person's speech."""

    def __init__(self) -> None:
        self._powers: list[NDArray[np.float32]] = []
        self.narrow = False

    def turns_narrow(self, log_mel: NDArray[np.float32]) -> bool:
        """One more spoken segment [80, 1, F]; true once, where the band turns out to be narrow."""
        if len(self._powers) == ENOUGH_SEGMENTS:
            return False
        self._powers.append(np.maximum(np.exp(log_mel[:, 0]) - np.float32(LOG_FLOOR), 0).mean(1))
        if len(self._powers) < ENOUGH_SEGMENTS:
            return False
        power = np.sum(self._powers, 0)
        self.narrow = bool(power[UPPER].sum() < power[MIDDLE].sum() * 10 ** (MISSING_DB / 10))
        return self.narrow
