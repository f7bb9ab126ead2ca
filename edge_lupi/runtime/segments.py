"""Segments of log-mel from a stream of samples, every frame computed once.

In: float32 [n] at 16 kHz, any n. Out: Segments of log-mel float32 [80, 1, frames]; joined they equal what
`CompiledStudent.segments` gives for the whole, `without_offset`. Frames are computed up to the end of the next segment, at the
same places of the stream whatever the blocks, so segments are the same to the last bit. Students with segments of other
lengths share one stream: one gate, and one log-mel where theirs is the same. What several streams have ready, one gate hears.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_lupi.frames import CONTEXT_SAMPLES, MELS, SAMPLE_RATE_HZ, Segmentation
from edge_lupi.runtime.gates.gate import FULL_SCALE_POWER, Frames, Gate, share_with_pre_roll
from edge_lupi.runtime.gates.make import make_gate
from edge_lupi.runtime.windows import Window, Windows
from edge_lupi.sound.offset import OffsetRemoval

__all__ = ["SPEECH_SHARE", "LogMel", "Segment", "Segmenter", "segments_of"]

Array = NDArray[np.float32]
SPEECH_SHARE = 0.5  # a segment with less speech than this is silence

LogMel = Callable[[Array], Array]  # float32 [240 + 160 * F] (context first) -> [80, F]


@dataclass(frozen=True, eq=False)
class Segment:
    """One piece of the stream. `speech_share` is the part of its frames with speech, `level_db` its RMS level.

    `cut` says which of the segmenter's segmentations it is of.
    """

    log_mel: Array
    start_seconds: float
    end_seconds: float
    speech_share: float
    level_db: float
    cut: int = 0


class Segmenter:
    """Cuts a stream in one way, and in others `beside` it; the first log-mel is also the gate's.

    `take` gives the windows that are due, which `segments_of` makes segments of, in their order; `push` does both.
    """

    def __init__(
        self,
        log_mel: LogMel,
        segmentation: Segmentation,
        gate: Gate | None = None,
        *,
        beside: Sequence[tuple[LogMel, Segmentation]] = (),
    ) -> None:
        self._log_mels = list(dict.fromkeys([log_mel, *(other for other, _ in beside)]))  # each once
        self._frames_of = [self._log_mels.index(other) for other in (log_mel, *(other for other, _ in beside))]
        self._cuts = [segmentation, *(cut for _, cut in beside)]
        self._longest = max(cut.frames for cut in self._cuts)
        self._windows = Windows(self._cuts)
        self._gate = gate or make_gate()
        self._offset = OffsetRemoval()
        self._restart()

    @property
    def seconds(self) -> float:
        """How far the stream has come, what was lost counted."""
        return self._windows.seconds

    def take(self, samples: Array) -> list[Window]:
        """Take the next samples float32 [n]; the windows that are due with them."""
        return self._windows.push(samples)

    def push(self, samples: Array) -> list[Segment]:
        """Take the next samples float32 [n]; give the segments that are complete with them."""
        return self._alone(self.take(samples))

    def reset(self, lost_samples: int = 0) -> None:
        """Begin again after a gap, so that no segment bridges it; the time of the stream goes on."""
        self._windows.reset(lost_samples)

    def last_windows(self) -> list[Window]:
        """At the end: what is shorter than a segment, where no segment of that length came before, padded with silence."""
        return self._windows.finish()

    def finish(self) -> list[Segment]:
        """The segments of these."""
        return self._alone(self.last_windows())

    def _alone(self, windows: Sequence[Window]) -> list[Segment]:
        return [segment for window in windows for segment in segments_of([(self, window)])[0]]

    def _restart(self) -> None:
        """Nothing was heard."""
        self._context = np.zeros(CONTEXT_SAMPLES, np.float32)
        self._frames: list[Array] = [np.zeros((MELS, 0), np.float32) for _ in self._log_mels]
        self._powers = np.zeros(0, np.float32)
        self._speech = np.zeros(0, np.bool_)

    def _heard(self, window: Window) -> tuple[Array, list[Array]]:
        """What is heard of a window, a constant taken out, behind its context: float32 [240 + 160 * F]; and its log-mels [80, F]."""
        if window.begins and self._powers.size:  # a gap
            self._gate.reset()
            self._restart()
        samples = np.concatenate([self._context, window.samples])
        sound = window.sound
        samples[CONTEXT_SAMPLES : CONTEXT_SAMPLES + len(sound)] = self._offset.removed(sound)
        self._context = samples[-CONTEXT_SAMPLES:].copy()  # by itself, so that the window is not kept
        return samples, [log_mel(samples) for log_mel in self._log_mels]

    def _segments(self, window: Window, log_mels: Sequence[Array], speech: Frames) -> list[Segment]:
        """Those that end with a window."""
        past = max(0, self._powers.size + speech.size - self._longest)  # frames that no segment hears any more
        self._frames = [
            np.concatenate([old[:, past:], new], 1) for old, new in zip(self._frames, log_mels, strict=True)
        ]
        self._powers = np.concatenate([self._powers[past:], np.add.reduce(np.exp(log_mels[0]), 0)])
        self._speech = np.concatenate([self._speech[past:], speech])
        return [self._segment(window, cut) for cut in window.cuts]

    def _segment(self, window: Window, cut: int) -> Segment:
        """The newest frames; what a padded one says is about its sound alone."""
        kind = self._cuts[cut]
        sound = kind.samples - window.end_samples + window.sound_end_samples
        power = float(np.add.reduce(self._powers[-kind.frames :])) / (kind.frames * FULL_SCALE_POWER)
        return Segment(
            log_mel=self._frames[self._frames_of[cut]][:, None, -kind.frames :],
            start_seconds=(window.end_samples - kind.samples) / SAMPLE_RATE_HZ,
            end_seconds=window.sound_end_samples / SAMPLE_RATE_HZ,
            speech_share=min(1.0, share_with_pre_roll(self._speech[-kind.frames :]) * (kind.samples / sound)),
            level_db=10 * math.log10(power),
            cut=cut,
        )


def segments_of(due: Sequence[tuple[Segmenter, Window]]) -> list[list[Segment]]:
    """The segments that end with each of these windows, the next ones of so many streams, which have gates of one kind."""
    heard = [segmenter._heard(window) for segmenter, window in due]
    gates = [segmenter._gate for segmenter, _ in due]
    samples = [own[CONTEXT_SAMPLES:] for own, _ in heard]
    speech = gates[0].push_all(gates, [log_mels[0] for _, log_mels in heard], samples)
    return [
        segmenter._segments(window, log_mels, frames)
        for (segmenter, window), (_, log_mels), frames in zip(due, heard, speech, strict=True)
    ]
