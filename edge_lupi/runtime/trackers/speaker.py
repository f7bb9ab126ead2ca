"""Speaker tracking with change detection and open-set identification: segments and embeddings [1, D] in, Decisions out.

    segment ─┬─► is like the turn, and no other known voice is nearer ───► joins the turn
             ├─► else: is like the segment held before it ────────────────► the turn ends, both begin another
             ├─► else: is like a known person or an earlier stranger ─────► joins their turn, or begins it
             └─► else ────────────────────────────────────────────────────► is held until the next one
    a held segment that the next one is not like was a stray, such as one across a boundary: it has the turn's label
    a long pause, or the end of the stream: the turn ends

    turn: undecided ─┬─► a known person, once the cosine of all of it reaches their threshold
                     ├─► an earlier stranger's number, at a lower one
                     └─► a new number, after `founding_seconds` that are like nobody known,
                         or after `early_seconds` that are nearly like a known person

The segments of a turn share one aggregator state, so the voice of the turn grows clearer. A change of speaker
costs one hop, and no speaker is made of a mixture. While a turn is undecided nothing is said of it; then one Decision covers
all of it until now.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_lupi.bundle.threshold import Threshold
from edge_lupi.runtime.compiled_student import Step
from edge_lupi.runtime.segments import Segment
from edge_lupi.runtime.speakers.gallery import Gallery
from edge_lupi.runtime.trackers.strangers import Strangers
from edge_lupi.runtime.trackers.tracker import UNKNOWN, Aggregator, Decision, Stranger
from edge_lupi.task import DEFAULT_THRESHOLD
from edge_lupi.vectors import Array, unit

__all__ = ["SpeakerTracker", "Tracking"]

TOLERANCE_SECONDS = 1e-3  # times are sums of hops
_Match = tuple[str, float]  # who, and the cosine


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
    behind: tuple[Array, ...]  # the states that it was heard behind: none, and that of the turn, if there is one
    heard: Step  # [1 or 2, D] behind each of these

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
    undecided_seconds: float | None = None  # where the sound begins that its next decision covers


class SpeakerTracker:
    """Speaker turns and whose they are: people of the gallery by name, strangers by number in the order they came."""

    def __init__(
        self,
        aggregator: Aggregator,
        threshold: float = DEFAULT_THRESHOLD,
        gallery: Gallery | None = None,
        tracking: Tracking | None = None,
        of_people: Threshold | None = None,
    ) -> None:
        self.tracking = tracking or Tracking()
        self.threshold = threshold
        self._of_people = of_people or Threshold.constant(threshold)  # the cosine that people of the gallery must reach
        self._aggregator = aggregator
        self._nothing = aggregator.initial_state()
        self._gallery = gallery
        self._change = self.threshold * self.tracking.change_share
        self._strangers = Strangers()
        self._numbers = 0
        self._turn: _Turn | None = None
        self._held: _Piece | None = None
        self._last_speech_seconds = 0.0

    def states(self, segment: Segment) -> Array:
        """Behind nothing, and behind the turn if there still is one then: nearly every segment joins its turn."""
        return np.concatenate(self._behind(None if self._is_pause(segment.start_seconds) else self._turn))

    def speech(self, segment: Segment, embedding: Array, heard: Step | None = None) -> list[Decision]:
        """A segment in which somebody speaks, with its embedding [1, D]; `heard` is that behind each of the `states`."""
        before = self._pause(segment.start_seconds)
        self._last_speech_seconds = segment.end_seconds
        behind = self._behind(self._turn)
        heard = heard or self._aggregator.step(np.concatenate([embedding] * len(behind)), np.concatenate(behind))
        alone = unit(heard.embedding[0])
        piece = _Piece(segment.start_seconds, segment.end_seconds, embedding, alone, behind, heard)
        return before + self._place(piece)

    def silence(self, segment: Segment) -> list[Decision]:
        """A segment in which hardly anybody speaks."""
        return self._pause(segment.end_seconds)

    def finish(self) -> list[Decision]:
        """The end of the stream, or a long pause: what was held back is decided, and the turn ends."""
        held, self._held = self._held, None
        return [*(self._stray(held) if held else []), *self._end_turn()]

    def speaker(self, name: str) -> None:
        """Who speaks now: nothing that this tracker does not know."""

    def stranger(self, label: str) -> Stranger | None:
        """The voice of somebody with a number: of their turns until now, the present one too."""
        if self._is_known(label):
            return None
        heard, turn = self._strangers.heard(label), self._turn
        if turn and turn.label == label and label != UNKNOWN:
            before, seconds = heard or (np.zeros_like(turn.voice), 0.0)
            heard = before + turn.pieces * turn.voice, seconds + turn.seconds
        return None if heard is None else Stranger(unit(heard[0]), heard[1])

    def renamed(self, label: str, name: str) -> None:
        """Another name for somebody; who has one is no stranger any more."""
        self._strangers.remove(label)
        if self._turn and self._turn.label == label:
            self._turn.label, self._turn.number = name, None

    def _is_pause(self, now_seconds: float) -> bool:
        return now_seconds - self._last_speech_seconds >= self.tracking.pause_seconds

    def _pause(self, now_seconds: float) -> list[Decision]:
        return self.finish() if self._is_pause(now_seconds) else []

    def _behind(self, turn: _Turn | None) -> tuple[Array, ...]:
        return (self._nothing, turn.state) if turn else (self._nothing,)

    def _place(self, piece: _Piece) -> list[Decision]:
        held, self._held = self._held, None
        if self._turn and self._goes_on(self._turn, piece.alone):
            return self._join(piece, since=held)
        if held and float(piece.alone.dot(held.alone)) >= self._change:
            before = self._end_turn()
            self._absorb(held)
            return [*before, *self._join(piece, since=held)]
        before = self._stray(held) if held else []
        label, cosine = self._match(piece.alone, piece.seconds, self._nearest(piece.alone))
        if cosine >= (self.threshold if label in self._strangers else self._of_people.at(piece.seconds)):
            if self._turn and label != self._turn.label:
                before += self._end_turn()
            return [*before, *self._join(piece)]
        self._held = piece
        return before

    def _goes_on(self, turn: _Turn, alone: Array) -> bool:
        """Whether a segment's voice [D] is the turn's: like enough, and no other known voice is more like it.

        Of a turn that nobody was named for, the person it is nearly is no other: their clearer speech is not a new turn.
        """
        likeness = float(alone.dot(turn.voice))
        if likeness < self._change:
            return False
        rivals = self._strangers.likeness(alone)
        likeness = max(likeness, rivals.pop(turn.label, -1.0))
        own = None if self._is_known(turn.label) else self._nearly(turn, self._nearest(turn.voice))
        mine = own[0] if own else turn.label
        person = self._gallery.match(alone, leave_out=mine) if self._gallery else None
        return likeness >= max([*rivals.values(), person[1] if person else -1.0])

    def _is_known(self, label: str) -> bool:
        return self._gallery is not None and label in self._gallery

    def _nearest(self, voice: Array) -> _Match | None:
        """The known person whose voice is nearest to a unit vector [D], and the cosine, if anybody is known."""
        return self._gallery.match(voice) if self._gallery else None

    def _nearly(self, turn: _Turn, person: _Match | None) -> _Match | None:
        """The nearest person, where a turn may turn out to be theirs."""
        return person if person and person[1] >= self._of_people.at(turn.seconds) * self.tracking.early_share else None

    def _join(self, piece: _Piece, since: _Piece | None = None) -> list[Decision]:
        """Make the piece part of the turn, or the first of a new one, and say whose turn it is, if that can be said."""
        likeness = self._absorb(piece)
        turn = self._turn
        assert turn is not None
        if turn.undecided_seconds is None:
            turn.undecided_seconds = (since or piece).start_seconds
        named = self._name(turn, likeness)
        if named is None:
            return []
        turn.label, turn.score = named
        return self._decide(turn)

    def _name(self, turn: _Turn, likeness: float) -> tuple[str, float] | None:
        """Somebody known, a stranger's number or a new one.

        None where that cannot be said yet, and it is to be heard longer first: while a young turn is nearly a known person's,
        and while it may be somebody new.
        """
        person = self._nearest(turn.voice)
        label, cosine = self._match(turn.voice, turn.seconds, person)
        young = turn.number is None and turn.seconds < self.tracking.early_seconds - TOLERANCE_SECONDS
        nearly = self._nearly(turn, person) if young else None
        farther = nearly is not None and label in self._strangers and cosine < nearly[1]
        if cosine >= self._level(label, turn.seconds) and not farther:
            return label, cosine
        if nearly:
            return None
        if turn.number is None and turn.seconds < self.tracking.founding_seconds - TOLERANCE_SECONDS:
            return None
        return self._new_number(turn), likeness

    def _decide(self, turn: _Turn) -> list[Decision]:
        """The decision about the turn's sound that no decision has covered yet."""
        since, turn.undecided_seconds = turn.undecided_seconds, None
        if since is None:
            return []
        threshold = self._of_people.at(turn.seconds)
        return [Decision(since, turn.end_seconds, turn.label, turn.score, threshold=threshold)]

    def _absorb(self, piece: _Piece) -> float:
        """Let the turn's aggregator hear the piece; gives the cosine of the two before that."""
        turn = self._turn or _Turn(self._nothing, piece.alone)
        likeness = float(piece.alone.dot(turn.voice))
        step, row = piece.heard, next((row for row, state in enumerate(piece.behind) if state is turn.state), None)
        if row is None:
            step, row = self._aggregator.step(piece.embedding, turn.state), 0
        turn.state, turn.voice, turn.pieces = step.state[row : row + 1], unit(step.embedding[row]), turn.pieces + 1
        turn.seconds += piece.end_seconds - max(piece.start_seconds, turn.end_seconds)
        turn.end_seconds = piece.end_seconds
        self._turn = turn
        return likeness

    def _stray(self, piece: _Piece) -> list[Decision]:
        """A piece that agrees with nothing goes to the turn it came in; alone it founds nobody."""
        start, end = piece.start_seconds, piece.end_seconds
        if self._turn:
            threshold = self._of_people.at(self._turn.seconds)
            stray = Decision(start, end, self._turn.label, self._turn.score, threshold=threshold)
            return [*self._decide(self._turn), stray]
        threshold = self._of_people.at(piece.seconds)
        label, cosine = self._match(piece.alone, piece.seconds, self._nearest(piece.alone))
        is_close = cosine >= self._level(label, piece.seconds)
        return [Decision(start, end, label if is_close else UNKNOWN, cosine, threshold=threshold)]

    def _match(self, voice: Array, seconds: float, person: _Match | None) -> _Match:
        """The nearest known person, or else the stranger nearest to a unit vector [D] of so many seconds of speech."""
        if person and person[1] >= self._of_people.at(seconds):
            return person
        return max(
            self._strangers.likeness(voice).items(),
            key=lambda item: item[1],
            default=(UNKNOWN, person[1] if person else 0.0),
        )

    def _level(self, label: str, seconds: float) -> float:
        if label not in self._strangers:
            return self._of_people.at(seconds)
        young = seconds < self.tracking.early_seconds - TOLERANCE_SECONDS
        return self.threshold * (self.tracking.early_share if young else self.tracking.return_share)

    def _new_number(self, turn: _Turn) -> str:
        if turn.number is None:
            self._numbers += 1
            turn.number = self._numbers
        return f"speaker {turn.number}"

    def _end_turn(self) -> list[Decision]:
        turn, self._turn = self._turn, None
        if turn is None:
            return []
        last = self._decide(turn)
        if turn.label != UNKNOWN and not self._is_known(turn.label):
            self._strangers.add(turn.label, turn.voice, turn.pieces, turn.seconds)
        return last
