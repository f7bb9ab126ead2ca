"""Decisions about segments of several streams: segments and embeddings in, for each what its stream's trackers make of it out.

Each task's aggregator takes a step of all streams at once. Segments of one stream follow one another, as each is heard behind
the state that the one before it left; and of one moment the tasks do, as whom the first names, the others are told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_lupi.runtime.compiled_student import Step
from edge_lupi.runtime.listening.ears import Ear
from edge_lupi.runtime.listening.stream import Stream
from edge_lupi.runtime.segments import SPEECH_SHARE, Segment
from edge_lupi.runtime.trackers.tracker import Aggregator, Decision
from edge_lupi.task import Task

__all__ = ["Decided", "Embedding", "Ready", "decide", "in_waves"]

Embedding = NDArray[np.float32]  # [1, D]
States = NDArray[np.float32]  # [n, K]
Decided = list[tuple[str, Decision]]  # with the task's name


@dataclass(frozen=True, eq=False)
class Ready:
    """A segment that is to be encoded, and when its last block came and was taken."""

    stream: Stream
    segment: Segment
    received_seconds: float
    taken_seconds: float

    @property
    def is_speech(self) -> bool:
        """Whether somebody speaks in it."""
        return self.segment.speech_share >= SPEECH_SHARE

    @property
    def moment(self) -> tuple[str, float]:
        """Segments of one stream for several students may end at once."""
        return self.stream.name, self.segment.end_seconds


def decide(ears: Sequence[Ear], ready: Sequence[Ready], embeddings: Sequence[Embedding | None]) -> list[Decided]:
    """For each segment; its embedding [1, D] is None where hardly anybody speaks."""
    decided: list[Decided] = [[] for _ in ready]
    for wave in in_waves([item.stream.name for item in ready]):
        for number, ear in enumerate(ears):
            own = [place for place in wave if ready[place].segment.cut == number]
            for task in ear.tasks if own else ():
                each = _decide(task, ear.branches[task.name], [(ready[place], embeddings[place]) for place in own])
                for place, decisions in zip(own, each, strict=True):
                    decided[place] += [(task.name, decision) for decision in decisions]
    return decided


def in_waves(streams: Sequence[str]) -> list[list[int]]:
    """Places of the first of each stream, then of the second of each, and so on."""
    if len(streams) == 1:
        return [[0]]
    waves, counts = list[list[int]](), dict[str, int]()
    for place, name in enumerate(streams):
        earlier = counts[name] = counts.get(name, -1) + 1
        if earlier == len(waves):
            waves.append([])
        waves[earlier].append(place)
    return waves


def _decide(
    task: Task, aggregator: Aggregator, ready: Sequence[tuple[Ready, Embedding | None]]
) -> list[list[Decision]]:
    """Of one task, about a segment of each of so many streams."""
    trackers = [item.stream.tracker(task) for item, _ in ready]
    states = [
        None if embedding is None else tracker.states(item.segment)
        for tracker, (item, embedding) in zip(trackers, ready, strict=True)
    ]
    heard = _steps(aggregator, [embedding for _, embedding in ready], states)
    each = list[list[Decision]]()
    for tracker, (item, embedding), step in zip(trackers, ready, heard, strict=True):
        own = tracker.silence(item.segment) if embedding is None else tracker.speech(item.segment, embedding, step)
        if task.verifies:
            item.stream.tell(own)
        each.append(own)
    return each


def _steps(
    aggregator: Aggregator, embeddings: Sequence[Embedding | None], states: Sequence[States | None]
) -> list[Step | None]:
    """What each embedding [1, D] comes to behind its states [n, K], where it has any: all in one call."""
    if len(states) == 1:
        one, before = embeddings[0], states[0]
        return [None if one is None or before is None else aggregator.step(one.repeat(len(before), 0), before)]
    asked = [
        (own, behind) for own, behind in zip(embeddings, states, strict=True) if own is not None and behind is not None
    ]
    if not asked:
        return [None] * len(states)
    rows = np.concatenate([own for own, behind in asked for _ in behind])
    step, begin, each = aggregator.step(rows, np.concatenate([behind for _, behind in asked])), 0, list[Step | None]()
    for behind in states:
        own = slice(begin, begin + (0 if behind is None else len(behind)))
        scores = None if step.scores is None else step.scores[own]
        each.append(None if behind is None else Step(step.embedding[own], step.state[own], scores))
        begin = own.stop
    return each
