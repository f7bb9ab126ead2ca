"""Voice activity detection by energy alone. log-mel float32 [80, F] -> speech or not for each frame, bool [F].

A frame is speech when it is well above the noise floor, which falls with the quiet moments and rises slowly. The
recursion goes frame by frame, so the answer does not depend on how the stream was cut into blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
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
        self._since_speech_frames: int
        self.reset()

    def push(self, log_mel: NDArray[np.float32], samples: NDArray[np.float32] | None = None) -> NDArray[np.bool_]:
        """log-mel [80, F] of the frames that come next -> speech or not, bool [F]; the samples are not needed."""
        return np.array(self.open_frames(log_mel), np.bool_)

    def open_frames(self, log_mel: NDArray[np.float32]) -> list[bool]:
        """The same as a list."""
        # one loop over local numbers: a call for each frame takes four times as long
        settings, hangover = self.settings, self._hangover_frames
        to_begin_db, to_go_on_db = settings.margin_db, settings.margin_db - settings.release_db
        floor_db, since_speech = self.floor_db, self._since_speech_frames
        speech = []
        for level_db in levels_db(log_mel[SPEECH_BANDS]).tolist():
            margin_db = to_go_on_db if since_speech <= hangover else to_begin_db
            is_loud = level_db > floor_db + margin_db and level_db > settings.minimum_db
            since_speech = 0 if is_loud else since_speech + 1
            if level_db < floor_db:
                floor_db += settings.fall_share * (level_db - floor_db)
            else:
                floor_db = min(level_db, floor_db + self._rise_db, settings.highest_floor_db)
            speech.append(since_speech <= hangover)
        self.floor_db, self._since_speech_frames = floor_db, since_speech
        return speech

    def push_all(
        self,
        gates: Sequence[SpeechGate],
        log_mels: Sequence[NDArray[np.float32]],
        samples: Sequence[NDArray[np.float32]],
    ) -> list[NDArray[np.bool_]]:
        """Of several streams, each with its own sound."""
        return [gate.push(log_mel) for gate, log_mel in zip(gates, log_mels, strict=True)]

    def reset(self) -> None:
        """Forget who was speaking; the noise of the room is still its noise."""
        self._since_speech_frames = self._hangover_frames + 1
