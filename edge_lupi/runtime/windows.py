"""Windows of a stream: samples float32 [n] as they come, any n; out, for each moment at which segments end, the sound since the last.

    samples   ─┬────────┬────┬────────┬────┬───►      segments of 1 s every 0.5 s, and others of 1.5 s beside them
    windows      1.0 s    0.5   0.5     0.5
    cuts         0        0     0, 1    0, 1          of which a segment ends there

This is the one place that knows what is due. Nothing is computed here, so windows of many streams may be heard together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_lupi.frames import SAMPLE_RATE_HZ, Segmentation

__all__ = ["Window", "Windows"]

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Window:
    """Samples [160 * F] up to the end of segments of these `cuts`; `begins` where nothing before them may be heard.

    They end at `end_samples` of the stream, lost ones counted; sound ends at `sound_end_samples`, and zeros follow.
    """

    samples: Array
    cuts: Sequence[int]
    begins: bool
    end_samples: int
    sound_end_samples: int

    @property
    def sound(self) -> Array:
        """The samples without the zeros behind them."""
        return self.samples[: max(0, len(self.samples) - self.end_samples + self.sound_end_samples)]


class Windows:
    """Of one stream, whose segments end where those of any of these segmentations do."""

    def __init__(self, cuts: Sequence[Segmentation]) -> None:
        self._cuts = cuts
        self._stream_samples = 0  # where the next sample lies in the stream, lost ones counted
        self._restart()

    @property
    def seconds(self) -> float:
        """How far the stream has come, what was lost counted."""
        return self._stream_samples / SAMPLE_RATE_HZ

    def push(self, samples: Array) -> list[Window]:
        """Take the next samples; give the windows that are full with them."""
        full = []
        while len(samples):
            some = samples[: len(self._buffer) - self._waiting]
            samples = samples[len(some) :]
            self._buffer[self._waiting : self._waiting + len(some)] = some
            self._waiting += len(some)
            self._stream_samples += len(some)
            if self._waiting == len(self._buffer):
                full.append(self._window(self._stream_samples))
        return full

    def reset(self, lost_samples: int = 0) -> None:
        """Begin again after a gap, so that no segment bridges it; the time of the stream goes on."""
        self._stream_samples += lost_samples
        self._restart()

    def finish(self) -> list[Window]:
        """At the end: windows that zeros fill up, until every segmentation has its first segment."""
        sound_end = self._stream_samples
        first = {cut for cut, due in enumerate(self._due) if due == self._cuts[cut].samples}
        short = first if self._computed + self._waiting else set[int]()
        last = list[Window]()
        while short:
            self._buffer[self._waiting :] = 0
            self._stream_samples += len(self._buffer) - self._waiting
            padded = self._window(sound_end, short)
            last.append(padded)
            short = short.difference(padded.cuts)
        return last

    def _restart(self) -> None:
        self._computed = 0  # samples in full windows, since here
        self._due = [cut.samples for cut in self._cuts]  # where the next segment of each ends, in the same count
        self._begins = True
        self._next()

    def _next(self) -> None:
        self._waiting = 0
        self._buffer = np.empty(min(self._due) - self._computed, np.float32)

    def _window(self, sound_end_samples: int, wanted: set[int] | None = None) -> Window:
        """What is in the buffer, which is full; only wanted segmentations have a segment in it."""
        samples, begins = self._buffer, self._begins
        self._computed += len(samples)
        ready = [cut for cut, due in enumerate(self._due) if due == self._computed]
        for cut in ready:
            self._due[cut] += self._cuts[cut].hop_samples
        self._begins = False
        self._next()
        cuts = [cut for cut in ready if wanted is None or cut in wanted]
        return Window(samples, cuts, begins, self._stream_samples, sound_end_samples)
