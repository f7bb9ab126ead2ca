"""Who speaks, or how: segment embeddings [1, D] in, Findings out. All that is remembered between segments lives here.

Speakers: the segments of a turn share one aggregator state, so the voice of the turn grows clearer. A segment unlike
the turn is held back until the next one tells whether a new turn began (the two agree) or it was a stray, such as one
that lies across the boundary. So a new voice costs one hop, and nobody is made up from a mixture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_lupi.bundle import Task
from edge_lupi.errors import BundleError
from edge_lupi.runtime.gallery import Gallery
from edge_lupi.runtime.segments import Segment
from edge_lupi.runtime.student import Step

__all__ = ["DEFAULT_THRESHOLD", "UNKNOWN", "Finding", "LabelTracker", "SpeakerTracker", "Tracking", "unit"]

Array = NDArray[np.float32]
UNKNOWN = "unknown"
MAX_STRANGERS = 200
DEFAULT_THRESHOLD = 0.4  # where the student brings none


class Aggregator(Protocol):
    """The part of a student that trackers need."""

    def initial_state(self, batch: int = 1) -> Array:
        """The state before anything was heard."""

    def step(self, embedding: Array, state: Array) -> Step:
        """One more segment."""


@dataclass(frozen=True)
class Finding:
    """A label for a stretch of the stream: a segment, or two where the second decided about the first."""

    start_seconds: float
    end_seconds: float
    label: str
    score: float | None = None
    probability: float | None = None


@dataclass(frozen=True)
class Tracking:
    """Levels are shares of the task's threshold: a short piece of a voice is less like its owner than a long one.

    Chosen on conversations put together from the 48 LibriSpeech voices of the trials, so figures on conversations of
    those are flattered; then confirmed on 39 conversations of 15 voices that the speaker recipe keeps for validation:
    95 % of what was heard went to the right one of two or three, and still did with the threshold a tenth lower.
    """

    change_share: float = 0.9  # a segment below this cosine with its turn may begin another
    return_share: float = 0.85  # a turn above this cosine with an earlier stranger is theirs,
    early_share: float = 0.55  # or above this one as long as it is young,
    early_pieces: int = 5  # which it is with fewer segments than this
    pause_seconds: float = 1.0  # a silence this long ends a turn


@dataclass(frozen=True, eq=False)
class _Piece:
    start_seconds: float
    end_seconds: float
    embedding: Array
    alone: Array  # unit vector [D] of this segment as an utterance of its own


@dataclass(eq=False)
class _Turn:
    state: Array
    voice: Array  # unit vector [D] of the utterance so far
    pieces: int = 0
    label: str = UNKNOWN
    score: float = 0.0
    number: int | None = None  # the new number it was given, if any


class SpeakerTracker:
    """Turns and who takes them: people of the gallery by name, strangers by number in the order they came."""

    def __init__(
        self,
        aggregator: Aggregator,
        threshold: float = DEFAULT_THRESHOLD,
        gallery: Gallery | None = None,
        tracking: Tracking | None = None,
    ) -> None:
        self.tracking = tracking or Tracking()
        self.threshold = threshold
        self._aggregator = aggregator
        self._gallery = gallery
        self._change = self.threshold * self.tracking.change_share
        self._strangers: dict[str, Array] = {}  # sums of unit vectors [D], weighted by pieces
        self._numbers = 0
        self._turn: _Turn | None = None
        self._held: _Piece | None = None
        self._last_speech_seconds = 0.0

    def speech(self, segment: Segment, embedding: Array) -> list[Finding]:
        """A segment in which somebody speaks, with its embedding [1, D]."""
        before = self._pause(segment.start_seconds)
        self._last_speech_seconds = segment.end_seconds
        alone = unit(self._aggregator.step(embedding, self._aggregator.initial_state()).embedding[0])
        return before + self._place(_Piece(segment.start_seconds, segment.end_seconds, embedding, alone))

    def silence(self, segment: Segment) -> list[Finding]:
        """A segment in which hardly anybody speaks."""
        return self._pause(segment.end_seconds)

    def finish(self) -> list[Finding]:
        """The end of the stream, or a long pause: what was held back is decided, and the turn ends."""
        held, self._held = self._held, None
        findings = [self._stray(held)] if held else []
        self._end_turn()
        return findings

    def _pause(self, now_seconds: float) -> list[Finding]:
        if now_seconds - self._last_speech_seconds < self.tracking.pause_seconds:
            return []
        return self.finish()

    def _place(self, piece: _Piece) -> list[Finding]:
        held, self._held = self._held, None
        if self._turn and float(piece.alone @ self._turn.voice) >= self._change:
            return [self._join(piece, since=held)]
        if held and float(piece.alone @ held.alone) >= self._change:
            self._end_turn()
            self._absorb(held)
            return [self._join(piece, since=held)]
        strays = [self._stray(held)] if held else []
        label, cosine = self._match(piece.alone)
        if cosine >= self.threshold:
            if self._turn and label != self._turn.label:
                self._end_turn()
            return [*strays, self._join(piece)]
        self._held = piece
        return strays

    def _join(self, piece: _Piece, since: _Piece | None = None) -> Finding:
        """Make the piece part of the turn, or the first of a new one, and say whose turn it is."""
        likeness = self._absorb(piece)
        turn = self._turn
        assert turn is not None
        turn.label, turn.score = self._name(turn, likeness)
        return Finding((since or piece).start_seconds, piece.end_seconds, turn.label, turn.score)

    def _name(self, turn: _Turn, likeness: float) -> tuple[str, float]:
        """Somebody known, a new number, or, while a young turn is only nearly a known person's, nobody yet."""
        label, cosine = self._match(turn.voice)
        if cosine >= self._level(label, turn.pieces):
            return label, cosine
        known = self._gallery.match(turn.voice) if self._gallery else None
        nearly = known is not None and known[1] >= self.threshold * self.tracking.early_share
        if known and nearly and turn.number is None and turn.pieces < self.tracking.early_pieces:
            return UNKNOWN, known[1]
        return self._new_number(turn), likeness

    def _absorb(self, piece: _Piece) -> float:
        """Let the turn's aggregator hear the piece; gives the cosine of the two before that."""
        turn = self._turn or _Turn(self._aggregator.initial_state(), piece.alone)
        likeness = float(piece.alone @ turn.voice)
        step = self._aggregator.step(piece.embedding, turn.state)
        turn.state, turn.voice, turn.pieces = step.state, unit(step.embedding[0]), turn.pieces + 1
        self._turn = turn
        return likeness

    def _stray(self, piece: _Piece) -> Finding:
        """A piece that agrees with nothing goes to the turn it came in; alone it founds nobody."""
        if self._turn:
            return Finding(piece.start_seconds, piece.end_seconds, self._turn.label, self._turn.score)
        label, cosine = self._match(piece.alone)
        known = cosine >= self._level(label, pieces=1)
        return Finding(piece.start_seconds, piece.end_seconds, label if known else UNKNOWN, cosine)

    def _match(self, voice: Array) -> tuple[str, float]:
        """The known person, or else the stranger, nearest to a unit vector [D]."""
        known = self._gallery.match(voice) if self._gallery else None
        if known and known[1] >= self.threshold:
            return known
        likeness = {name: float(unit(total) @ voice) for name, total in self._strangers.items()}
        return max(likeness.items(), key=lambda item: item[1], default=(UNKNOWN, known[1] if known else 0.0))

    def _level(self, label: str, pieces: int) -> float:
        if label not in self._strangers:
            return self.threshold
        young = pieces < self.tracking.early_pieces
        return self.threshold * (self.tracking.early_share if young else self.tracking.return_share)

    def _new_number(self, turn: _Turn) -> str:
        if turn.number is None:
            self._numbers += 1
            turn.number = self._numbers
        return f"speaker {turn.number}"

    def _end_turn(self) -> None:
        turn, self._turn = self._turn, None
        if turn is None or turn.label == UNKNOWN or (self._gallery and turn.label in self._gallery.names):
            return
        known = self._strangers.pop(turn.label, np.zeros_like(turn.voice))
        self._strangers[turn.label] = known + turn.pieces * turn.voice  # last heard, last in line
        if len(self._strangers) > MAX_STRANGERS:
            del self._strangers[next(iter(self._strangers))]


class LabelTracker:
    """The most probable label of what was said since the last long pause."""

    def __init__(self, aggregator: Aggregator, task: Task, tracking: Tracking | None = None) -> None:
        self._aggregator = aggregator
        self._task = task
        self._pause_seconds = (tracking or Tracking()).pause_seconds
        self._state = aggregator.initial_state()
        self._last_speech_seconds = 0.0

    def speech(self, segment: Segment, embedding: Array) -> list[Finding]:
        """A segment in which somebody speaks, with its embedding [1, D]."""
        self._pause(segment.start_seconds)
        self._last_speech_seconds = segment.end_seconds
        step = self._aggregator.step(embedding, self._state)
        self._state = step.state
        if step.scores is None or step.scores.shape[-1] != len(self._task.labels):
            raise BundleError(
                f"expected {len(self._task.labels)} scores for task {self._task.name}, got none or others: compile the student anew"
            )
        probabilities = _softmax(step.scores[0] / self._task.temperature)
        best = int(probabilities.argmax())
        return [
            Finding(
                segment.start_seconds,
                segment.end_seconds,
                self._task.labels[best],
                probability=float(probabilities[best]),
            )
        ]

    def silence(self, segment: Segment) -> list[Finding]:
        """A segment in which hardly anybody speaks."""
        self._pause(segment.end_seconds)
        return []

    def finish(self) -> list[Finding]:
        """The end of the stream; nothing was held back."""
        return []

    def _pause(self, now_seconds: float) -> None:
        if now_seconds - self._last_speech_seconds >= self._pause_seconds:
            self._state = self._aggregator.initial_state()


def unit(vector: Array) -> Array:
    """The vector [D] scaled to length one."""
    return (vector / (np.linalg.norm(vector) + 1e-12)).astype(np.float32)


def _softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.max())
    return np.asarray(powers / powers.sum(), dtype=np.float32)
