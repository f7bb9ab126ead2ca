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

import numpy as np
from numpy.typing import NDArray

__all__ = ["Gain", "amplified", "levels_db"]

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
        return amplified(chunks.copy(), self.gains_db(levels_db(chunks)))

    def gains_db(self, levels_db: Sequence[float]) -> list[float]:
        """What the next chunks of these levels are to be raised by."""
        gains = []
        for level_db in levels_db:
            self._level_db = max(level_db, self._level_db - FALL_DB)
            gains.append(min(max(WANTED_DB - self._level_db, 0.0), MOST_DB))
        return gains


def levels_db(chunks: Array) -> list[float]:
    """RMS of each of the chunks [n, S], whoever's they are, in dB of full scale."""
    powers = np.vecdot(chunks, chunks) / chunks.shape[1]
    levels: list[float] = (10 * np.log10(powers + SILENT_POWER)).tolist()
    return levels


def amplified(chunks: Array, gains_db: Sequence[float]) -> Array:
    """The same chunks [n, S], each made louder in place by so many dB; within [-1, 1]."""
    factors = (10 ** (np.array(gains_db) / 20)).astype(np.float32)
    np.multiply(chunks, factors[:, None], out=chunks)
    return np.clip(chunks, -1, 1, out=chunks)
