"""Segments of log-mel from a stream of samples, every frame computed once.

In: float32 [n] at 16 kHz, any n. Out: Segments of log-mel float32 [80, 1, frames]; joined they equal what
`CompiledStudent.segments` gives for the whole, `without_offset`. Frames are computed up to the end of the next segment, at the
same places of the stream whatever the blocks, so segments are the same to the last bit. Students with segments of other
lengths share one stream: one gate, and one log-mel where theirs is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_lupi.frames import CONTEXT_SAMPLES, HOP_SAMPLES, MELS, SAMPLE_RATE_HZ, Segmentation
from edge_lupi.runtime.gates.gate import Gate, levels_db, with_pre_roll
from edge_lupi.runtime.gates.make import make_gate
from edge_lupi.sound.offset import OffsetRemoval

__all__ = ["SPEECH_SHARE", "LogMel", "Segment", "Segmenter"]

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
    """Cuts a stream in one way, and in others `beside` it; the first log-mel is also the gate's."""

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
                segments += self._segments()
        return segments

    def reset(self, lost_samples: int = 0) -> None:
        """Begin again after a gap, so that no segment bridges it; the time of the stream goes on."""
        self._stream_samples += lost_samples
        self._gate.reset()
        self._restart()

    def finish(self) -> list[Segment]:
        """At the end: what is shorter than a segment, where no segment of that length came before, padded with silence."""
        samples, end = self._computed + self._waiting, self.seconds
        short = {cut for cut, due in enumerate(self._due) if samples and due == self._cuts[cut].samples}
        last = list[Segment]()
        while short:
            self._buffer[CONTEXT_SAMPLES + self._waiting :] = 0
            self._stream_samples += self._wanted - self._waiting
            first = [segment for segment in self._segments(self._waiting) if segment.cut in short]
            last += [self._shortened(segment, samples, end) for segment in first]
            short -= {segment.cut for segment in first}
        return last

    def _shortened(self, padded: Segment, real_samples: int, end_seconds: float) -> Segment:
        """A padded segment without the padding in what it says."""
        share = min(1.0, padded.speech_share * self._cuts[padded.cut].samples / real_samples)
        return replace(padded, end_seconds=end_seconds, speech_share=share)

    def _restart(self) -> None:
        self._buffer = np.zeros(CONTEXT_SAMPLES + self._longest * HOP_SAMPLES, np.float32)
        self._waiting = 0  # samples in the buffer behind the context
        self._computed = 0  # samples before them, since here
        self._due = [cut.samples for cut in self._cuts]  # where the next segment of each ends, in the same count
        self._wanted = min(self._due)  # so many make the next segment
        self._frames: list[Array] = [np.zeros((MELS, 0), np.float32) for _ in self._log_mels]
        self._levels_db = np.zeros(0, np.float32)
        self._speech = np.zeros(0, np.bool_)

    def _segments(self, real_samples: int | None = None) -> list[Segment]:
        """Those that end with what waits in the buffer, of which only so much is sound where that is not all."""
        window = self._buffer[: CONTEXT_SAMPLES + self._wanted]
        fresh_samples = window[CONTEXT_SAMPLES:][:real_samples]
        fresh_samples[:] = self._offset.removed(fresh_samples)
        fresh = [log_mel(window) for log_mel in self._log_mels]
        past = max(0, self._levels_db.size + fresh[0].shape[1] - self._longest)  # frames that no segment hears any more
        self._frames = [np.concatenate([old[:, past:], new], 1) for old, new in zip(self._frames, fresh, strict=True)]
        self._levels_db = np.concatenate([self._levels_db[past:], levels_db(fresh[0])])
        self._speech = np.concatenate([self._speech[past:], self._gate.push(fresh[0], window[CONTEXT_SAMPLES:])])
        self._buffer[:CONTEXT_SAMPLES] = window[-CONTEXT_SAMPLES:].copy()
        self._computed += self._wanted
        ready = [cut for cut, due in enumerate(self._due) if due == self._computed]
        for cut in ready:
            self._due[cut] += self._cuts[cut].hop_samples
        self._waiting, self._wanted = 0, min(self._due) - self._computed
        return [self._segment(cut) for cut in ready]

    def _segment(self, cut: int) -> Segment:
        """The newest frames."""
        kind = self._cuts[cut]
        return Segment(
            log_mel=self._frames[self._frames_of[cut]][:, None, -kind.frames :],
            start_seconds=(self._stream_samples - kind.samples) / SAMPLE_RATE_HZ,
            end_seconds=self.seconds,
            speech_share=float(np.count_nonzero(with_pre_roll(self._speech[-kind.frames :])) / kind.frames),
            level_db=float(10 * np.log10((10 ** (self._levels_db[-kind.frames :] / 10)).mean())),
            cut=cut,
        )
