"""Voice activity detection: what every speech gate is, and the levels that gates go by. log-mel float32 [80, F] -> bool [F]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_lupi.frames import FFT_POINTS, window

__all__ = ["FULL_SCALE_POWER", "Gate", "levels_db", "with_pre_roll"]

FULL_SCALE_POWER = FFT_POINTS / 2 * float((window() ** 2).sum())  # Parseval: one-sided power of a signal of RMS 1

PRE_ROLL_FRAMES = 10  # 0.1 s: the soft beginning of a word, before a gate can be sure


class Gate(Protocol):
    """What a stream asks about every frame; one per stream."""

    delay_seconds: float

    def push(self, log_mel: NDArray[np.float32], samples: NDArray[np.float32]) -> NDArray[np.bool_]:
        """log-mel [80, F] of the frames that come next, and their samples [160 * F] -> speech or not, bool [F]."""

    def push_all(
        self, gates: Sequence[Any], log_mels: Sequence[NDArray[np.float32]], samples: Sequence[NDArray[np.float32]]
    ) -> list[NDArray[np.bool_]]:
        """The same for several streams at once, each with its own sound; all gates are of this one's kind."""

    def reset(self) -> None:
        """Forget who was speaking, as sound was lost: what came before says nothing about the next frame."""


def levels_db(log_mel: NDArray[np.float32]) -> NDArray[np.float32]:
    """log-mel [bands, F] -> RMS level of each frame in dB of full scale [F]."""
    power = np.exp(log_mel).sum(axis=0)
    return np.asarray(10 * np.log10(power / FULL_SCALE_POWER), dtype=np.float32)


def with_pre_roll(speech: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Speech [F], and also the 0.1 s before every moment at which the gate opened."""
    openings = np.flatnonzero(speech[1:] & ~speech[:-1]) + 1
    widened: NDArray[np.bool_] = speech.copy()
    for opening in openings:
        widened[max(0, opening - PRE_ROLL_FRAMES) : opening] = True
    return widened
