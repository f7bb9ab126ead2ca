"""Voice activity detection: what every speech gate is, and the levels that gates go by. log-mel float32 [80, F] -> bool [F]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_lupi.frames import FFT_POINTS, window

__all__ = ["FULL_SCALE_POWER", "Frames", "Gate", "levels_db", "share_with_pre_roll"]

Array = NDArray[np.float32]
Frames = NDArray[np.bool_]  # speech or not, [F]
FULL_SCALE_POWER = FFT_POINTS / 2 * float((window() ** 2).sum())  # Parseval: one-sided power of a signal of RMS 1

PRE_ROLL_FRAMES = 10  # 0.1 s: the soft beginning of a word, before a gate can be sure


class Gate(Protocol):
    """What a stream asks about every frame; one per stream."""

    delay_seconds: float

    def push(self, log_mel: Array, samples: Array) -> Frames:
        """log-mel [80, F] of the frames that come next, and their samples [160 * F] -> speech or not, bool [F]."""

    def push_all(self, gates: Sequence[Any], log_mels: Sequence[Array], samples: Sequence[Array]) -> list[Frames]:
        """The same for several streams at once, each with its own sound; all gates are of this one's kind."""

    def reset(self) -> None:
        """Forget who was speaking, as sound was lost: what came before says nothing about the next frame."""


def levels_db(log_mel: Array) -> Array:
    """log-mel [bands, F] -> RMS level of each frame in dB of full scale [F]."""
    power = np.add.reduce(np.exp(log_mel), 0)  # np.sum takes as long to begin
    return np.asarray(10 * np.log10(power / FULL_SCALE_POWER), dtype=np.float32)


def share_with_pre_roll(speech: Frames) -> float:
    """The share of frames [F] that are speech, or less than 0.1 s before a moment at which the gate opened."""
    count = int(np.count_nonzero(speech))
    if count in (0, speech.size):
        return count / speech.size
    widened = speech.copy()
    for opening in (np.flatnonzero(speech[1:] > speech[:-1]) + 1).tolist():
        widened[max(0, opening - PRE_ROLL_FRAMES) : opening] = True
    return int(np.count_nonzero(widened)) / speech.size
