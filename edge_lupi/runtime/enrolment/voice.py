"""One person's speech for enrolment and calibration: sources in, segment embeddings [S, D] and unit vectors [D] out."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.runtime.band import Band
from edge_lupi.runtime.compiled_student import CompiledStudent, Step
from edge_lupi.runtime.listening.ears import ear_of
from edge_lupi.runtime.listening.listening import Listening
from edge_lupi.runtime.segments import Segment
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.trackers.tracker import Decision, Tracker
from edge_lupi.vectors import unit

__all__ = ["Speech", "exemplars", "pieces", "voice"]

Array = NDArray[np.float32]
EXEMPLAR_SEGMENTS = 8  # 4.5 s: about what thresholds are set with
FULL_SCALE = 0.999  # resampling takes a little off the top of a clipped wave
PATIENCE = 3.0  # a microphone is given this many times the seconds asked for,
GRACE_SECONDS = 3.0  # and this


class Speech(Tracker):
    """Gathers one person's speech, from any number of sources: `embeddings` [S, D] of its segments, its level and clipping."""

    def __init__(self, student: CompiledStudent) -> None:
        self._student = student
        self._tasks = [task.name for task in student.tasks]
        self._embeddings: list[Array] = []
        self._powers: list[float] = []
        self._loudest_db = -np.inf
        self._clipped = 0
        self._covered_seconds = 0.0  # of the present source: where its newest segment ends
        self.now_db = -np.inf  # the level of the newest block of sound
        self._band = Band()
        self.speech_seconds = 0.0

    @property
    def narrow_band(self) -> bool:
        """Whether the upper band is missing, as on a telephone."""
        return self._band.narrow

    @property
    def embeddings(self) -> Array:
        """Segment embeddings [S, D], in the order of time; S may be 0."""
        return np.stack(self._embeddings) if self._embeddings else np.zeros((0, 1), np.float32)

    @property
    def level_db(self) -> float:
        """Of the speech, in dB of full scale; without any, of the loudest segment."""
        return float(10 * np.log10(np.mean(self._powers))) if self._powers else self._loudest_db

    @property
    def clipped_share(self) -> float:
        """Samples at full scale, as a share of those of the speech."""
        return self._clipped / max(1.0, self.speech_seconds * SAMPLE_RATE_HZ)

    def hear(
        self,
        source: Iterable[Block],
        *,
        enough_seconds: float = np.inf,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        """Listen until the source ends or enough speech was heard; `progress` is given the share in per cent."""
        self._covered_seconds = 0.0
        listening = Listening(
            [ear_of(self._student)], lambda: dict.fromkeys(self._tasks, self), notify=lambda notice: None
        )
        for block in source:
            self._clipped += int((np.abs(block.samples) >= FULL_SCALE).sum())
            listening.push(block)
            self.now_db = level_db(block.samples)
            if progress:
                progress(min(100.0, 100 * self.speech_seconds / enough_seconds))
            patience_seconds = PATIENCE * enough_seconds + GRACE_SECONDS
            if self.speech_seconds >= enough_seconds or self._covered_seconds >= patience_seconds:
                return
        listening.finish()

    def states(self, segment: Segment) -> None:
        """The aggregator is not asked."""

    def speech(self, segment: Segment, embedding: Array, heard: Step | None = None) -> list[Decision]:
        """A segment in which they speak, with its embedding [1, D]; nothing is decided about it."""
        begin_seconds = max(segment.start_seconds, self._covered_seconds)
        self.speech_seconds += segment.speech_share * (segment.end_seconds - begin_seconds)
        self._band.turns_narrow(segment.log_mel)
        self._powers.append(10 ** (segment.level_db / 10))
        self._embeddings.append(embedding[0])
        return self.silence(segment)

    def silence(self, segment: Segment) -> list[Decision]:
        """A segment in which hardly anybody speaks."""
        self._loudest_db = max(self._loudest_db, segment.level_db)
        self._covered_seconds = segment.end_seconds
        return []

    def finish(self) -> list[Decision]:
        """The end of a source; nothing was held back."""
        return []

    def speaker(self, name: str) -> None:
        """Who speaks now: the one person whose speech this is."""

    def stranger(self, label: str) -> None:
        """Nobody has a number here."""

    def renamed(self, label: str, name: str) -> None:
        """Nobody has a name here."""


def level_db(samples: Array) -> float:
    """RMS of samples [n] in dB of full scale; minus infinity where there is nothing."""
    power = float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
    return 10 * float(np.log10(power)) if power else -np.inf


def voice(student: CompiledStudent, embeddings: Array) -> Array:
    """Segment embeddings [S, D] of one turn, S at least 1 -> its unit vector [D]."""
    state = student.initial_state()
    for embedding in embeddings:
        step = student.step(embedding[None], state)
        state = step.state
    return unit(step.embedding[0])


def exemplars(student: CompiledStudent, embeddings: Array) -> Array:
    """Segment embeddings [S, D] of one person -> unit vectors [n, D], one for every few seconds."""
    count = max(1, round(len(embeddings) / EXEMPLAR_SEGMENTS))
    return np.stack([voice(student, part) for part in np.array_split(embeddings, count)])


def pieces(student: CompiledStudent, embeddings: Array, seconds: float) -> Array:
    """Segment embeddings [S, D] of one person -> unit vectors [N, D] of consecutive pieces of so much speech; N may be 0."""
    cut = student.segmentation
    length = max(1, round((seconds - cut.seconds) / cut.hop_seconds) + 1)
    starts = range(0, len(embeddings) - length + 1, length)
    voices = [voice(student, embeddings[start : start + length]) for start in starts]
    return np.stack(voices) if voices else np.zeros((0, embeddings.shape[1]), np.float32)
