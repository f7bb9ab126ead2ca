"""From a stream of samples to segments of log-mel, every frame computed once.

In: float32 [n] at 16 kHz, any n. Out: Segments of log-mel float32 [80, 1, frames]; joined they equal what
`CompiledStudent.segments` gives for the whole, `without_offset`. Frames are computed a hop at a time, at the same places of the stream
whatever the blocks, so segments are the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_lupi.frames import CONTEXT_SAMPLES, MELS, SAMPLE_RATE_HZ, Segmentation
from edge_lupi.offset import OffsetRemoval
from edge_lupi.runtime.gate import Gate, levels_db, with_pre_roll
from edge_lupi.runtime.silero import make_gate

__all__ = ["Segment", "Segmenter"]

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Segment:
    """One piece of the stream. `speech_share` is the part of its frames with speech, `level_db` its RMS level."""

    log_mel: Array
    start_seconds: float
    end_seconds: float
    speech_share: float
    level_db: float


class Segmenter:
    """Cuts a stream. `log_mel` maps float32 [240 + 160 * F] (context first) to [80, F]."""

    def __init__(self, log_mel: Callable[[Array], Array], segmentation: Segmentation, gate: Gate | None = None) -> None:
        self.segmentation = segmentation
        self._log_mel = log_mel
        self._gate = gate or make_gate()
        self._offset = OffsetRemoval()
        self._stream_samples = 0  # where the next sample lies in the stream, lost ones counted
        self._restart()

    @property
    def seconds(self) -> float:
        """How far the stream has come, what was lost counted."""
        return self._stream_samples / SAMPLE_RATE_HZ

    def push(self, samples: Array) -> list[Segment]:
        """Take the next samples float32 [n]; give the segments that are complete with them."""
        segments = []
        while len(samples):
            count = min(self._wanted - self._waiting, len(samples))
            begin = CONTEXT_SAMPLES + self._waiting
            self._buffer[begin : begin + count] = samples[:count]
            samples = samples[count:]
            self._waiting += count
            self._stream_samples += count
            if self._waiting == self._wanted:
                segments.append(self._segment())
        return segments

    def reset(self, lost_samples: int = 0) -> None:
        """Begin anew after a gap, so that no segment bridges it; the time of the stream goes on."""
        self._stream_samples += lost_samples
        self._gate.reset()
        self._restart()

    def finish(self) -> list[Segment]:
        """At the end: what is shorter than a segment, if no segment came before, padded with silence."""
        heard = self._waiting
        if heard == 0 or self._frames.shape[1]:
            return []
        end = self.seconds
        self._stream_samples += self._wanted - heard
        padded = self._segment(heard)
        share = min(1.0, padded.speech_share * self.segmentation.samples / heard)
        return [replace(padded, end_seconds=end, speech_share=share)]

    def _restart(self) -> None:
        self._buffer = np.zeros(CONTEXT_SAMPLES + self.segmentation.samples, np.float32)
        self._waiting = 0  # samples in the buffer behind the context
        self._wanted = self.segmentation.samples  # so many make the next segment
        self._frames: Array = np.zeros((MELS, 0), np.float32)
        self._levels_db = np.zeros(0, np.float32)
        self._speech = np.zeros(0, np.bool_)

    def _segment(self, real_samples: int | None = None) -> Segment:
        """The segment that ends with what waits in the buffer, of which only so much is sound where that is not all."""
        heard = self._buffer[: CONTEXT_SAMPLES + self._wanted]
        fresh_samples = heard[CONTEXT_SAMPLES:][:real_samples]
        fresh_samples[:] = self._offset.removed(fresh_samples)
        fresh = self._log_mel(heard)
        hop = self.segmentation.hop_frames
        self._frames = np.concatenate([self._frames[:, hop:], fresh], axis=1)
        self._levels_db = np.concatenate([self._levels_db[hop:], levels_db(fresh)])
        self._speech = np.concatenate([self._speech[hop:], self._gate.push(fresh, heard[CONTEXT_SAMPLES:])])
        self._buffer[:CONTEXT_SAMPLES] = heard[-CONTEXT_SAMPLES:].copy()
        self._waiting, self._wanted = 0, self.segmentation.hop_samples
        return Segment(
            log_mel=self._frames[:, None, :],
            start_seconds=(self._stream_samples - self.segmentation.samples) / SAMPLE_RATE_HZ,
            end_seconds=self.seconds,
            speech_share=float(with_pre_roll(self._speech).mean()),
            level_db=float(10 * np.log10((10 ** (self._levels_db / 10)).mean())),
        )
