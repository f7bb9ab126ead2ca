"""Who speaks: segment embeddings [1, D] in, Findings out. All that is remembered between segments lives here.

The segments of a turn share one aggregator state, so the voice of the turn grows clearer. A segment unlike
the turn is held back until the next one tells whether a new turn began (the two agree) or it was a stray, such as one
that lies across the boundary. A segment that fits the turn, but another known voice better, is held back too. So a
change of speaker costs one hop and nobody is made up from a mixture. A voice that is nearly a known person's is heard for a
while longer, and one that nobody knows is given a number once it has spoken for a while: what it said until then is told
at once, with the name or the number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edge_lupi.bundle.threshold import Threshold
from edge_lupi.runtime.compiled_student import Step
from edge_lupi.runtime.segments import Segment
from edge_lupi.runtime.speakers.gallery import Gallery
from edge_lupi.runtime.trackers.strangers import Strangers
from edge_lupi.task import DEFAULT_THRESHOLD
from edge_lupi.vectors import Array, unit

__all__ = ["UNKNOWN", "Aggregator", "Finding", "SpeakerTracker", "Tracking"]

UNKNOWN = "unknown"
TOLERANCE_SECONDS = 1e-3  # times are sums of hops


class Aggregator(Protocol):
    """The part of a student that trackers need."""

    def initial_state(self, batch: int = 1) -> Array:
        """The state before anything was heard."""

    def step(self, embedding: Array, state: Array) -> Step:
        """One more segment."""


@dataclass(frozen=True)
class Finding:
    """A label for a stretch of the stream: a segment, or several where the last decided about those before it.

    `threshold` is the cosine that a known person had to reach.
    """

    start_seconds: float
    end_seconds: float
    label: str
    score: float | None = None
    probability: float | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class Tracking:
    """Levels are shares of the task's threshold: a short piece of a voice is less like its owner than a long one.

    Chosen on conversations of the voices that the speaker recipe keeps for validation (45 of two, 18 of three, each 5
    minutes; 18 of one), then looked at with 16 RAVDESS actors, who change their voice with the emotion: of two readers
    1 % of the time is confused and in 98 % of the conversations two are found. Half a second or a tenth more or less
    changes little on readers; with actors more speakers are found than speak, and more of them with less patience.

    `change_share` was then lowered from 1.0 on three enrolled and a stranger of the same voices (benchmarks/live.py, 24
    conversations): in babble and rooms a segment is less like its own turn, and 2 to 3 % more of the time is named right.
    """

    change_share: float = 0.8  # a segment below this cosine with its turn may begin another
    return_share: float = 0.85  # a turn above this cosine with an earlier stranger is theirs,
    early_share: float = 0.55  # or above this one as long as it is young,
    early_seconds: float = 3.0  # which it is with less speech than this
    founding_seconds: float = 2.0  # of speech that fits nobody known make a new number
    pause_seconds: float = 1.0  # a silence this long ends a turn


@dataclass(frozen=True, eq=False)
class _Piece:
    start_seconds: float
    end_seconds: float
    embedding: Array
    alone: Array  # unit vector [D] of this segment as an utterance of its own

    @property
    def seconds(self) -> float:
        return self.end_seconds - self.start_seconds


@dataclass(eq=False)
class _Turn:
    state: Array
    voice: Array  # unit vector [D] of the utterance so far
    pieces: int = 0
    seconds: float = 0.0
    end_seconds: float = 0.0
    label: str = UNKNOWN
    score: float = 0.0
    number: int | None = None  # the new number it was given, if any
    untold_seconds: float | None = None  # where begins what is told with its next finding


class SpeakerTracker:
    """Turns and who takes them: people of the gallery by name, strangers by number in the order they came."""

    def __init__(
        self,
        aggregator: Aggregator,
        threshold: float = DEFAULT_THRESHOLD,
        gallery: Gallery | None = None,
        tracking: Tracking | None = None,
        known: Threshold | None = None,
    ) -> None:
        self.tracking = tracking or Tracking()
        self.threshold = threshold
        self._known = known or Threshold.constant(threshold)  # asked of people of the gallery alone
        self._aggregator = aggregator
        self._gallery = gallery
        self._change = self.threshold * self.tracking.change_share
        self._strangers = Strangers()
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
        return [*(self._stray(held) if held else []), *self._end_turn()]

    def _pause(self, now_seconds: float) -> list[Finding]:
        if now_seconds - self._last_speech_seconds < self.tracking.pause_seconds:
            return []
        return self.finish()

    def _place(self, piece: _Piece) -> list[Finding]:
        held, self._held = self._held, None
        if self._turn and self._goes_on(self._turn, piece.alone):
            return self._join(piece, since=held)
        if held and float(piece.alone @ held.alone) >= self._change:
            before = self._end_turn()
            self._absorb(held)
            return [*before, *self._join(piece, since=held)]
        before = self._stray(held) if held else []
        label, cosine = self._match(piece.alone, piece.seconds)
        if cosine >= (self.threshold if label in self._strangers else self._known.at(piece.seconds)):
            if self._turn and label != self._turn.label:
                before += self._end_turn()
            return [*before, *self._join(piece)]
        self._held = piece
        return before

    def _goes_on(self, turn: _Turn, alone: Array) -> bool:
        """Whether a segment's voice [D] is the turn's: like enough, and no other known voice is more like it.

        Of a turn that nobody was named for, the person it is nearly is no other: their clearer speech is not a new turn.
        """
        likeness = float(alone @ turn.voice)
        if likeness < self._change:
            return False
        rivals = self._strangers.likeness(alone)
        likeness = max(likeness, rivals.pop(turn.label, -1.0))
        own = self._nearly(turn)
        mine = own[0] if own and not self._is_known(turn.label) else turn.label
        known = self._gallery.match(alone, leave_out=mine) if self._gallery else None
        return likeness >= max([*rivals.values(), known[1] if known else -1.0])

    def _is_known(self, label: str) -> bool:
        return self._gallery is not None and label in self._gallery.names

    def _nearly(self, turn: _Turn) -> tuple[str, float] | None:
        """The known person whose voice a turn may turn out to be, and the cosine, if there is one."""
        known = self._gallery.match(turn.voice) if self._gallery else None
        return known if known and known[1] >= self._known.at(turn.seconds) * self.tracking.early_share else None

    def _join(self, piece: _Piece, since: _Piece | None = None) -> list[Finding]:
        """Make the piece part of the turn, or the first of a new one, and say whose turn it is, if that can be said."""
        likeness = self._absorb(piece)
        turn = self._turn
        assert turn is not None
        if turn.untold_seconds is None:
            turn.untold_seconds = (since or piece).start_seconds
        named = self._name(turn, likeness)
        if named is None:
            return []
        turn.label, turn.score = named
        return self._tell(turn)

    def _name(self, turn: _Turn, likeness: float) -> tuple[str, float] | None:
        """Somebody known, a stranger's number or a new one.

        None where that cannot be said yet, and it is to be heard longer first: while a young turn is nearly a known person's,
        and while it may be somebody new.
        """
        label, cosine = self._match(turn.voice, turn.seconds)
        young = turn.number is None and turn.seconds < self.tracking.early_seconds - TOLERANCE_SECONDS
        nearly = self._nearly(turn) if young else None
        farther = nearly is not None and label in self._strangers and cosine < nearly[1]
        if cosine >= self._level(label, turn.seconds) and not farther:
            return label, cosine
        if nearly:
            return None
        if turn.number is None and turn.seconds < self.tracking.founding_seconds - TOLERANCE_SECONDS:
            return None
        return self._new_number(turn), likeness

    def _tell(self, turn: _Turn) -> list[Finding]:
        """What was heard of the turn and not told yet."""
        since, turn.untold_seconds = turn.untold_seconds, None
        if since is None:
            return []
        threshold = self._known.at(turn.seconds)
        return [Finding(since, turn.end_seconds, turn.label, turn.score, threshold=threshold)]

    def _absorb(self, piece: _Piece) -> float:
        """Let the turn's aggregator hear the piece; gives the cosine of the two before that."""
        turn = self._turn or _Turn(self._aggregator.initial_state(), piece.alone)
        likeness = float(piece.alone @ turn.voice)
        step = self._aggregator.step(piece.embedding, turn.state)
        turn.state, turn.voice, turn.pieces = step.state, unit(step.embedding[0]), turn.pieces + 1
        turn.seconds += piece.end_seconds - max(piece.start_seconds, turn.end_seconds)
        turn.end_seconds = piece.end_seconds
        self._turn = turn
        return likeness

    def _stray(self, piece: _Piece) -> list[Finding]:
        """A piece that agrees with nothing goes to the turn it came in; alone it founds nobody."""
        start, end = piece.start_seconds, piece.end_seconds
        if self._turn:
            threshold = self._known.at(self._turn.seconds)
            stray = Finding(start, end, self._turn.label, self._turn.score, threshold=threshold)
            return [*self._tell(self._turn), stray]
        threshold = self._known.at(piece.seconds)
        label, cosine = self._match(piece.alone, piece.seconds)
        known = cosine >= self._level(label, piece.seconds)
        return [Finding(start, end, label if known else UNKNOWN, cosine, threshold=threshold)]

    def _match(self, voice: Array, seconds: float) -> tuple[str, float]:
        """The known person, or else the stranger, nearest to a unit vector [D] of so many seconds of speech."""
        known = self._gallery.match(voice) if self._gallery else None
        if known and known[1] >= self._known.at(seconds):
            return known
        return max(
            self._strangers.likeness(voice).items(),
            key=lambda item: item[1],
            default=(UNKNOWN, known[1] if known else 0.0),
        )

    def _level(self, label: str, seconds: float) -> float:
        if label not in self._strangers:
            return self._known.at(seconds)
        young = seconds < self.tracking.early_seconds - TOLERANCE_SECONDS
        return self.threshold * (self.tracking.early_share if young else self.tracking.return_share)

    def _new_number(self, turn: _Turn) -> str:
        if turn.number is None:
            self._numbers += 1
            turn.number = self._numbers
        return f"speaker {turn.number}"

    def _end_turn(self) -> list[Finding]:
        turn, self._turn = self._turn, None
        if turn is None:
            return []
        untold = self._tell(turn)
        if turn.label != UNKNOWN and not self._is_known(turn.label):
            self._strangers.add(turn.label, turn.voice, turn.pieces)
        return untold
