"""Automatic gain before Silero VAD: chunks float32 [n, 576] -> the same, quiet ones raised to the level that it knows best.

Silero misses a voice that is far from the microphone: at -50 dB in a room it lets a fifth of the speech go by. The level
is that of the loudest chunk so far, falling by 3 dB for every second that is looked at, so within words and short pauses the
gain stays what it is. A louder chunk counts at once, so nothing loud is raised. Only what the easy energy gate lets pass is
seen here: silence changes nothing, and its noise does not swell. One number is remembered, and no chunk waits for a later one.

The figures were chosen on LibriSpeech readers at -26 to -55 dB, with and without room and noise, near and far in turn, and on
noise and music alone (benchmarks/quiet_speech.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log10

import numpy as np
from numpy.typing import NDArray

__all__ = ["Gain", "amplified", "powers"]

Array = NDArray[np.float32]
WANTED_DB = -15.0  # RMS of the loudest chunk of a voice
MOST_DB = 30.0
FALL_DB = 3.0 * 512 / 16_000  # for each chunk of 32 ms
SILENT_POWER = 1e-12


class Gain:
    """One stream's; remembers the level, in dB of full scale."""

    def __init__(self) -> None:
        self._level_db = -np.inf

    def raised(self, chunks: Array) -> Array:
        """The next chunks [n, S], each by the gain that it and those before it ask for; within [-1, 1]."""
        return amplified(chunks.copy(), self.factors(powers(chunks)))

    def factors(self, powers: Sequence[float]) -> list[float]:
        """What the next chunks of these powers are to be multiplied by."""
        # plain numbers: numpy takes longer to begin with them than they take
        level_db, factors = self._level_db, list[float]()
        for power in powers:
            level_db = max(10 * log10(power + SILENT_POWER), level_db - FALL_DB)
            gain_db = min(max(WANTED_DB - level_db, 0.0), MOST_DB)
            factors.append(10 ** (gain_db / 20))
        self._level_db = level_db
        return factors


def powers(chunks: Array) -> list[float]:
    """Mean power of each of the chunks [n, S], whoever's they are."""
    each: list[float] = (np.vecdot(chunks, chunks) / chunks.shape[1]).tolist()
    return each


def amplified(chunks: Array, factors: Sequence[float]) -> Array:
    """The same chunks [n, S], each multiplied in place by its factor; within [-1, 1]."""
    np.multiply(chunks, np.array(factors, np.float32)[:, None], out=chunks)
    return np.clip(chunks, -1, 1, out=chunks)
