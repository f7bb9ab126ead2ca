"""Verification trials of recordings whose speakers are known: `pairs_of(utterances) -> Pairs`, every pair or a sample of them.

Half of a sample is of one voice and half of two, as far as there are so many; the same recordings give the same sample.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from edge_lupi.data.trials import Trial
from edge_lupi.data.utterance import Utterance
from edge_lupi.errors import InputError

__all__ = ["Pairs", "pairs_of"]

MOST_TRIALS = 20_000
DRAWS = 20  # for every trial that is wanted: few are drawn twice


@dataclass(frozen=True)
class Pairs:
    """Trials, out of so many pairs of recordings of so many speakers."""

    trials: list[Trial]
    possible: int
    speakers: int

    def text(self) -> str:
        """For people."""
        drawn = "every pair" if len(self.trials) == self.possible else f"drawn from {self.possible} pairs"
        return f"{len(self.trials)} trials of {self.speakers} speakers' recordings, {drawn}"


def pairs_of(utterances: Sequence[Utterance], most: int = MOST_TRIALS, seed: int = 0) -> Pairs:
    """At most so many trials. Raises InputError where there are none of one voice, or none of two."""
    by_speaker: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        if utterance.start_seconds or utterance.end_seconds is not None:
            raise InputError(
                f"expected whole recordings to make trials of, got parts of {utterance.audio}: give a list of trials",
                options=("trials",),
            )
        if utterance.speaker is not None:
            by_speaker[utterance.speaker].append(utterance)
    voices = [by_speaker[name] for name in sorted(by_speaker)]
    count = sum(map(len, voices))
    same = sum(len(voice) * (len(voice) - 1) // 2 for voice in voices)
    possible = count * (count - 1) // 2
    if not same or len(voices) < 2:
        raise InputError(
            f"expected recordings of two speakers, two of one at least, got {count} of {len(voices)} ({same} pairs of one voice): bring more, or give a list of trials",
            options=("trials",),
        )
    if possible <= most:
        trials = _every(voices)
    else:
        rng = np.random.default_rng(seed)
        one = _some_of_one(voices, min(same, max(most // 2, most - (possible - same))), rng)
        trials = one + _some_of_two(voices, min(possible - same, most - len(one)), rng)
    return Pairs(trials, possible, len(voices))


def _every(voices: Sequence[Sequence[Utterance]]) -> list[Trial]:
    recordings = [(number, utterance.audio) for number, voice in enumerate(voices) for utterance in voice]
    return [Trial(a == b, enrol, test) for (a, enrol), (b, test) in combinations(recordings, 2)]


def _some_of_one(voices: Sequence[Sequence[Utterance]], wanted: int, rng: np.random.Generator) -> list[Trial]:
    weights = np.array([len(voice) * (len(voice) - 1) for voice in voices], float)
    drawn: dict[tuple[int, int, int], None] = {}  # in the order in which they were drawn
    for speaker in rng.choice(len(voices), wanted * DRAWS, p=weights / weights.sum()):
        if len(drawn) == wanted:
            break
        first, second = sorted(rng.choice(len(voices[speaker]), 2, replace=False).tolist())
        drawn[int(speaker), first, second] = None
    return [Trial(True, voices[s][a].audio, voices[s][b].audio) for s, a, b in drawn]


def _some_of_two(voices: Sequence[Sequence[Utterance]], wanted: int, rng: np.random.Generator) -> list[Trial]:
    recordings = [(number, utterance.audio) for number, voice in enumerate(voices) for utterance in voice]
    drawn: dict[tuple[int, int], None] = {}
    for first, second in np.sort(rng.integers(len(recordings), size=(wanted * DRAWS, 2)), axis=1).tolist():
        if len(drawn) == wanted:
            break
        if recordings[first][0] != recordings[second][0]:
            drawn[first, second] = None
    return [Trial(False, recordings[a][1], recordings[b][1]) for a, b in drawn]
