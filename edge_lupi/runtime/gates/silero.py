"""Voice activity detection with Silero VAD; robust to noise and music. log-mel [80, F], samples [160 * F] -> speech, bool [F].

Silero VAD (`silero_graph`) on chunks of 32 ms, but only on those that an easily opened energy gate lets pass, so silence
costs next to nothing; quiet ones are raised first (`gain`). The chunks of several streams go through the graph together.
Chunks lie at multiples of 512 samples since the stream began or was interrupted, and a frame is what the newest whole
chunk was: the answer does not depend on how the stream was cut into blocks, and no frame waits for sound after it.

    samples        ┌─64─┬───── 512 ─────┐                        chunk 0, behind its context of 64 samples
                                   ┌─64─┬───── 512 ─────┐        chunk 1
    frames              |    |    |    |    |    |    |          of 160 samples; one that ends in chunk 1 has chunk 0's answer

    chunk            0       1       2       3       4       5
    energy gate    quiet   quiet   loud    loud    quiet   loud
    graph            -      (1) ───► 2 ─────► 3     (4) ───► 5
    (n) is run too because the next one is loud, from a state of zeros: the beginning of a word; ───► carries the state on
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import lcm

import numpy as np
from numpy.typing import NDArray

from edge_lupi.frames import HOP_SAMPLES, SAMPLE_RATE_HZ
from edge_lupi.runtime.gates.energy import GateSettings, SpeechGate
from edge_lupi.runtime.gates.gain import Gain
from edge_lupi.runtime.gates.silero_graph import CHUNK_SAMPLES, CONTEXT_SAMPLES, NOTHING, Judged, Run, judge

__all__ = ["VoiceGate", "VoiceSettings"]

Array = NDArray[np.float32]
Frames = NDArray[np.bool_]
SAME_SAMPLES = lcm(CHUNK_SAMPLES, HOP_SAMPLES)  # after so many, frames and chunks lie as they did
EASY = GateSettings(margin_db=3.0, release_db=1.5, minimum_db=-70.0)  # what passes is judged again, so rather too much


@dataclass(frozen=True)
class VoiceSettings:
    """Probabilities as Silero's own iterator uses them: begin at 0.5, end 0.15 below."""

    begin: float = 0.5
    end: float = 0.35
    hangover_seconds: float = 0.25


@dataclass(frozen=True, eq=False)
class _Layout:
    """How frames and chunks lie: which frames end in each chunk that is whole now, and after how many of these each frame ends."""

    frames: list[slice]  # the first may have come before
    newest: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class _Asked:
    """Frames that came, how they and the chunks that are whole with them lie, and the runs of loud ones among these.

    `places` are where the loud chunks of each run lie among them.
    """

    layout: _Layout
    places: list[slice]
    runs: list[Run]


class VoiceGate:
    """Keeps the energy gate, the graph's state and the hangover from chunk to chunk."""

    delay_seconds = CHUNK_SAMPLES / SAMPLE_RATE_HZ

    def __init__(self, settings: VoiceSettings | None = None) -> None:
        self.settings = settings or VoiceSettings()
        self._loud = SpeechGate(EASY)
        self._hangover_chunks = round(self.settings.hangover_seconds * SAMPLE_RATE_HZ / CHUNK_SAMPLES)
        self._waiting: Array
        self._loud_frames: list[bool]
        self.reset()

    def push(self, log_mel: Array, samples: Array) -> Frames:
        """log-mel [80, F] of the frames that come next, and their samples [160 * F] -> speech or not, bool [F]."""
        return self.push_all([self], [log_mel], [samples])[0]

    def push_all(self, gates: Sequence[VoiceGate], log_mels: Sequence[Array], samples: Sequence[Array]) -> list[Frames]:
        """Of several streams, each with its own sound: their chunks go through the graph together."""
        asked = [gate._ask(*heard) for gate, *heard in zip(gates, log_mels, samples, strict=True)]
        runs = [run for one in asked for run in one.runs]
        judged = iter(judge(runs) if runs else [])
        return [gate._answer(one, [next(judged) for _ in one.runs]) for gate, one in zip(gates, asked, strict=True)]

    def reset(self) -> None:
        """Forget all but the noise of the room, as sound was lost."""
        self._loud.reset()
        self._stream_samples = 0
        self._waiting = np.zeros(CHUNK_SAMPLES + CONTEXT_SAMPLES, np.float32)  # the chunk before, and its context
        self._loud_frames = []
        self._state = NOTHING
        self._gain = Gain()
        self._ran = True  # whether the graph has heard the chunk before; now there is none
        self._since_speech_chunks = self._hangover_chunks + 1

    def _ask(self, log_mel: Array, samples: Array) -> _Asked:
        """Take the next frames and their samples; the runs of loud chunks among those that are whole now."""
        loud_frames = [*self._loud_frames, *self._loud.open_frames(log_mel)]
        waiting = np.concatenate([self._waiting, samples])
        first_sample, self._stream_samples = self._stream_samples, self._stream_samples + len(samples)
        layout = _layout(first_sample % SAME_SAMPLES, log_mel.shape[1])
        loud = [True in loud_frames[own] for own in layout.frames]
        self._waiting = waiting[len(loud) * CHUNK_SAMPLES :]
        self._loud_frames = loud_frames[layout.frames[-1].stop :] if loud else loud_frames
        return _Asked(layout, *self._runs(loud, waiting))

    def _runs(self, loud: list[bool], waiting: Array) -> tuple[list[slice], list[Run]]:
        """Where the loud chunks lie, and the runs in which they are heard: at the beginning of a word behind the chunk before."""
        places, runs, begin = list[slice](), list[Run](), 0
        while begin < len(loud):
            end = loud.index(False, begin) if False in loud[begin:] else len(loud)
            if end > begin:
                lead = 0 if self._ran else 1
                samples = waiting[CHUNK_SAMPLES * (begin - lead + 1) : CHUNK_SAMPLES * (end + 1) + CONTEXT_SAMPLES]
                places.append(slice(begin, end))
                runs.append(Run(samples, NOTHING if lead else self._state, self._gain))
                self._ran = True
            if end < len(loud):
                self._ran = False
            begin = end + 1
        return places, runs

    def _answer(self, asked: _Asked, judged: Sequence[Judged]) -> Frames:
        """Whether the gate is open at each of the frames; 0 is the probability of a chunk that is not loud."""
        probabilities = [0.0] * len(asked.layout.frames)
        for place, one in zip(asked.places, judged, strict=True):
            probabilities[place] = one.probabilities[place.start - place.stop :]
            self._state = one.state
        opened = [self._open(), *(self._follow(probability) for probability in probabilities)]
        return np.array(opened, np.bool_)[asked.layout.newest]

    def _open(self) -> bool:
        return self._since_speech_chunks <= self._hangover_chunks

    def _follow(self, probability: float) -> bool:
        speech = probability >= (self.settings.end if self._open() else self.settings.begin)
        self._since_speech_chunks = 0 if speech else self._since_speech_chunks + 1
        return self._open()


@lru_cache(maxsize=64)  # hop by hop the same few
def _layout(first_sample: int, frames: int) -> _Layout:
    """Of so many frames from this sample of the stream on, and of those before them that ended in the same chunk."""
    last_sample = first_sample + frames * HOP_SAMPLES
    first, last = first_sample // CHUNK_SAMPLES, last_sample // CHUNK_SAMPLES
    edges = [_frames_before(chunk) - _frames_before(first) for chunk in range(first, last + 1)]
    ends = np.arange(first_sample + HOP_SAMPLES, last_sample + 1, HOP_SAMPLES)
    return _Layout([slice(*edge) for edge in pairwise(edges)], ends // CHUNK_SAMPLES - first)


def _frames_before(chunk: int) -> int:
    """Frames that end with the chunks before this one, or within them."""
    return chunk * CHUNK_SAMPLES // HOP_SAMPLES
