"""From a stream of samples to segments of log-mel, every frame computed once.

In: float32 [n] at 16 kHz, any n. Out: Segments of log-mel float32 [80, 1, frames]; joined they equal what
`CompiledStudent.segments` gives for the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_lupi.frames import CONTEXT_SAMPLES, HOP_SAMPLES, MELS, SAMPLE_RATE_HZ, Segmentation
from edge_lupi.runtime.gate import SpeechGate, levels_db

__all__ = ["Segment", "Segmenter"]

Array = NDArray[np.float32]
FEED_SAMPLES = 10 * SAMPLE_RATE_HZ  # at most this much is turned into frames at once, so memory stays bounded


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

    def __init__(
        self, log_mel: Callable[[Array], Array], segmentation: Segmentation, gate: SpeechGate | None = None
    ) -> None:
        self.segmentation = segmentation
        self._log_mel = log_mel
        self._gate = gate or SpeechGate()
        self._stream_samples = 0  # where the next sample lies in the stream, lost ones counted
        self._restart()

    def push(self, samples: Array) -> list[Segment]:
        """Take the next samples float32 [n]; give the segments that are complete with them."""
        return [
            segment
            for start in range(0, len(samples), FEED_SAMPLES)
            for segment in self._push(samples[start : start + FEED_SAMPLES])
        ]

    def reset(self, lost_samples: int = 0) -> None:
        """Begin anew after a gap, so that no segment bridges it; the time of the stream goes on."""
        self._stream_samples += lost_samples
        self._restart()

    def finish(self) -> list[Segment]:
        """At the end: what is shorter than a segment, if no segment came before, padded with silence."""
        heard = self._stream_samples - self._began_samples
        missing = self.segmentation.samples - heard
        if heard == 0 or missing <= 0:
            return []
        (padded,) = self._push(np.zeros(missing, np.float32))
        share = padded.speech_share * self.segmentation.samples / heard
        end = padded.start_seconds + heard / SAMPLE_RATE_HZ
        return [Segment(padded.log_mel, padded.start_seconds, end, min(1.0, share), padded.level_db)]

    def _restart(self) -> None:
        self._began_samples = self._first_frame_samples = self._stream_samples
        self._pending = np.zeros(CONTEXT_SAMPLES, np.float32)
        self._frames: Array = np.zeros((MELS, 0), np.float32)
        self._speech = np.zeros(0, np.bool_)

    def _push(self, samples: Array) -> list[Segment]:
        self._stream_samples += len(samples)
        self._pending = np.concatenate([self._pending, samples])
        count = (len(self._pending) - CONTEXT_SAMPLES) // HOP_SAMPLES
        if count == 0:
            return []
        new = self._log_mel(self._pending[: CONTEXT_SAMPLES + count * HOP_SAMPLES])
        self._pending = self._pending[count * HOP_SAMPLES :]
        self._frames = np.concatenate([self._frames, new], axis=1)
        self._speech = np.concatenate([self._speech, self._gate.push(new)])
        return self._cut()

    def _cut(self) -> list[Segment]:
        length, hop = self.segmentation.frames, self.segmentation.hop_frames
        starts = range(0, self._frames.shape[1] - length + 1, hop)
        cut = [self._segment(start, start + length) for start in starts]
        done = len(starts) * hop
        self._frames, self._speech = self._frames[:, done:], self._speech[done:]
        self._first_frame_samples += done * HOP_SAMPLES
        return cut

    def _segment(self, start: int, end: int) -> Segment:
        log_mel = np.ascontiguousarray(self._frames[:, start:end])
        power = 10 ** (levels_db(log_mel) / 10)
        return Segment(
            log_mel=log_mel[:, None, :],
            start_seconds=(self._first_frame_samples + start * HOP_SAMPLES) / SAMPLE_RATE_HZ,
            end_seconds=(self._first_frame_samples + end * HOP_SAMPLES) / SAMPLE_RATE_HZ,
            speech_share=float(self._speech[start:end].mean()),
            level_db=float(10 * np.log10(power.mean())),
        )
