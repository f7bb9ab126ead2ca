"""Second look at a finished file: what was heard and told live in, revised turns out.

    turns told live ─► pieces of 4 s ─► clusters of their mean voices (average linkage), of which those below 3 s are dropped
    segments ────────► cosine with every cluster ─► best path through them (Viterbi) ─► turns

Live, a voice is judged by what was heard of it so far, and a number once given stays. Here everything has been heard:
numbers made up for one voice are joined, and each segment goes to whom it is most like, a change of speaker having a price.
People of the gallery keep their names, and clusters that are like enough to one of them get theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count, pairwise
from math import ceil

import numpy as np
from numpy.typing import NDArray

from edge_lupi.events import Event
from edge_lupi.frames import Segmentation
from edge_lupi.rttm import Stretch
from edge_lupi.runtime.outputs.turns import Turn, Turns
from edge_lupi.runtime.second_look.linkage import clusters
from edge_lupi.runtime.second_look.memory import Memory, Remembered
from edge_lupi.runtime.second_look.people import People
from edge_lupi.vectors import Array, unit

__all__ = ["Looking", "look_again", "second_look"]

Floats = NDArray[np.float64]
TOLERANCE_SECONDS = 1e-3


@dataclass(frozen=True)
class Looking:
    """How the second look decides.

    Chosen on 40 conversations of 2 to 13 of the voices that the speaker recipe keeps for validation, with turns of 1.5 to
    8 s (benchmarks/final_look.py): shares of 1.05 and 1.15, and pieces of 3 and 6 s, leave less than 1 % more of the time
    wrong. Turns as they were told live, uncut, leave 4 % more of the time wrong, as a few hold two voices.
    """

    share: float = 1.1  # of the task's threshold: clusters whose mean cosine is above it are one voice
    piece_seconds: float = 4.0  # a turn that was longer live is cut: it may hold two voices
    least_seconds: float = 3.0  # of speech make a voice; what is less goes to whom it is most like
    price: float = 0.25  # of a change of speaker: cosine times seconds


@dataclass(frozen=True, eq=False)
class _Voice:
    """A cluster: the sum [D] of its segments' unit vectors, how many there are, and whose it is, if anybody's."""

    sum: Array
    segments: int
    name: str | None

    @property
    def mean(self) -> Array:
        return unit(self.sum)


def look_again(memory: Memory) -> list[Turn]:
    """The revised turns of all streams of a run, in the order of time; each stream has numbers of its own."""
    found = [
        second_look(remembered, memory.people, memory.segmentation, stream=stream)
        for stream, remembered in memory.streams.items()
    ]
    return sorted((turn for turns in found for turn in turns), key=lambda turn: turn.start_seconds)


def second_look(
    remembered: Remembered,
    people: People,
    segmentation: Segmentation,
    *,
    stream: str = "",
    looking: Looking | None = None,
) -> list[Turn]:
    """The turns of one stream, in the order of time; strangers are numbered as they come.

    Where nobody spoke for long enough to be told apart, those that were told live.
    """
    looking = looking or Looking()
    if not remembered.voices or not remembered.turns:
        return list(remembered.turns)
    segments = np.stack(remembered.voices)
    middles = (np.array(remembered.starts) + np.array(remembered.ends)) / 2
    pieces = _pieces(remembered.turns, looking.piece_seconds)
    found = _told_apart(segments, middles, pieces, people, people.threshold * looking.share)
    heard = _worth_keeping(_named(found, people, segmentation), looking.least_seconds, segmentation)
    if not heard:
        return list(remembered.turns)
    cosines = segments @ np.stack([voice.mean for voice in heard]).T
    is_pause = np.diff(middles) > segmentation.seconds + TOLERANCE_SECONDS
    path = _path(cosines, is_pause, looking.price / segmentation.hop_seconds)
    labels = _labels([voice.name for voice in heard], path)
    turns = Turns(segmentation)
    ended = list[Turn]()
    for place, row in enumerate(path.tolist()):
        start, end, score = remembered.starts[place], remembered.ends[place], float(cosines[place, row])
        ended += turns.push(Event(end, start, people.task, labels[row], score=score, stream=stream or None))
    return [*ended, *turns.finish()]


def _pieces(turns: Sequence[Turn], longest_seconds: float) -> list[Stretch]:
    """Turns in equal parts of at most so long."""
    pieces = list[Stretch]()
    for turn in turns:
        parts = max(1, ceil((turn.end_seconds - turn.start_seconds) / longest_seconds))
        ends = np.linspace(turn.start_seconds, turn.end_seconds, parts + 1).tolist()
        pieces += [Stretch(start, end, turn.label) for start, end in pairwise(ends)]
    return pieces


def _told_apart(
    segments: Array, middles: Floats, pieces: Sequence[Stretch], people: People, least: float
) -> list[_Voice]:
    """The clusters of pieces told live, each the segments whose middle lies in it."""
    groups, names = list[Array](), list[str | None]()
    for piece in pieces:
        first, last = np.searchsorted(middles, (piece.start_seconds - TOLERANCE_SECONDS, piece.end_seconds))
        if last > first:
            groups.append(segments[first:last])
            names.append(people.known(piece.label))
    if not groups:
        groups, names = [segments], [None]
    counts = np.array([len(group) for group in groups])
    sums = np.stack([len(group) * unit(group.sum(0)) for group in groups])  # a turn is clearer than its segments are
    labels = clusters(sums, counts, names, least=least)
    return [
        _Voice(
            sums[labels == label].sum(0),
            int(counts[labels == label].sum()),
            next((name for name, own in zip(names, labels == label, strict=True) if own and name), None),
        )
        for label in np.unique(labels)
    ]


def _named(voices: Sequence[_Voice], people: People, segmentation: Segmentation) -> list[_Voice]:
    """Those that are a known person's have the name; two of the same person are one."""
    by_name, strangers = dict[str, _Voice](), list[_Voice]()
    for voice in voices:
        name = voice.name or people.whose(voice.mean, voice.segments * segmentation.hop_seconds)
        if name is None:
            strangers.append(voice)
        elif name in by_name:
            other = by_name[name]
            by_name[name] = _Voice(voice.sum + other.sum, voice.segments + other.segments, name)
        else:
            by_name[name] = replace(voice, name=name)
    return [*by_name.values(), *strangers]


def _worth_keeping(voices: Sequence[_Voice], least_seconds: float, segmentation: Segmentation) -> list[_Voice]:
    """Known people, and who spoke for long enough."""
    least = least_seconds / segmentation.hop_seconds - TOLERANCE_SECONDS
    return [voice for voice in voices if voice.name is not None or voice.segments >= least]


def _path(cosines: Array, is_pause: NDArray[np.bool_], price: float) -> NDArray[np.int64]:
    """The row of cosines [T, K] to be in at each step, their sum the largest less a price for each change; none after a pause."""
    best, came_from = cosines[0].copy(), np.zeros(cosines.shape, np.int32)
    for step in range(1, len(cosines)):
        top = int(best.argmax())
        changed = best[top] - (0.0 if is_pause[step - 1] else price)
        came_from[step] = np.where(best >= changed, np.arange(len(best)), top)
        best = np.maximum(best, changed) + cosines[step]
    path = np.zeros(len(cosines), np.int64)
    path[-1] = best.argmax()
    for step in range(len(cosines) - 1, 0, -1):
        path[step - 1] = came_from[step, path[step]]
    return path


def _labels(names: Sequence[str | None], path: NDArray[np.int64]) -> dict[int, str]:
    """What each row of the path is called."""
    labels = dict[int, str]()
    numbers = count(1)
    for row in dict.fromkeys(path.tolist()):
        labels[row] = names[row] or f"speaker {next(numbers)}"
    return labels
