"""Voice activity detection by energy alone. log-mel float32 [80, F] -> speech or not for each frame, bool [F].

A frame is speech when it is well above the noise floor, which falls with the quiet moments and rises slowly. The
recursion goes frame by frame, so the answer does not depend on how the stream was cut into blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_lupi.frames import FRAMES_PER_SECOND
from edge_lupi.runtime.gates.gate import levels_db

__all__ = ["GateSettings", "SpeechGate"]

SPEECH_BANDS = slice(5, 70)  # mel bands centred at 140 Hz to 5.7 kHz: above mains hum, below hiss


@dataclass(frozen=True)
class GateSettings:
    """Levels in dB, 0 being an RMS of 1."""

    margin_db: float = 7.0  # above the noise floor, to begin
    release_db: float = 4.0  # how much less is enough to go on
    minimum_db: float = -58.0  # below this nothing counts, however quiet the room
    hangover_seconds: float = 0.25  # the gaps inside words and between them
    first_floor_db: float = -60.0
    highest_floor_db: float = -35.0
    rise_db_per_second: float = 1.5
    fall_share: float = 0.2  # of the way down, per frame


class SpeechGate:
    """By energy. Keeps the noise floor and the hangover from frame to frame."""

    delay_seconds = 0.0

    def __init__(self, settings: GateSettings | None = None) -> None:
        self.settings = settings or GateSettings()
        self._hangover_frames = round(self.settings.hangover_seconds * FRAMES_PER_SECOND)
        self._rise_db = self.settings.rise_db_per_second / FRAMES_PER_SECOND
        self.floor_db = self.settings.first_floor_db
        self.reset()

    def push(self, log_mel: NDArray[np.float32], samples: NDArray[np.float32] | None = None) -> NDArray[np.bool_]:
        """log-mel [80, F] of the frames that come next -> speech or not, bool [F]; the samples are not needed."""
        levels = levels_db(log_mel[SPEECH_BANDS]).tolist()
        return np.fromiter(map(self._frame, levels), np.bool_, len(levels))

    def reset(self) -> None:
        """Forget who was speaking; the noise of the room is still its noise."""
        self._since_speech_frames = self._hangover_frames + 1

    def _frame(self, level_db: float) -> bool:
        speaking = self._since_speech_frames <= self._hangover_frames
        margin = self.settings.margin_db - (self.settings.release_db if speaking else 0.0)
        if level_db > max(self.floor_db + margin, self.settings.minimum_db):
            self._since_speech_frames = 0
        else:
            self._since_speech_frames += 1
        self._follow(level_db)
        return self._since_speech_frames <= self._hangover_frames

    def _follow(self, level_db: float) -> None:
        if level_db < self.floor_db:
            self.floor_db += self.settings.fall_share * (level_db - self.floor_db)
        else:
            self.floor_db = min(level_db, self.floor_db + self._rise_db, self.settings.highest_floor_db)
