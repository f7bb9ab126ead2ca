"""Resampling of a stream: any rate and any number of channels -> float32 at 16 kHz. soxr is imported when first used: 60 ms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lupi.errors import InputError
from edge_lupi.frames import SAMPLE_RATE_HZ

__all__ = ["MOST_CHANNELS", "Resampler", "resampler"]

Samples = NDArray[np.float32]
RATES_HZ = range(4_000, 768_001)
MOST_CHANNELS = 64
CANCEL_SECONDS = 0.1
CANCEL_SHARE = 0.1
LEAST_POWER = 1e-6  # -60 dB: what is quieter is no sound that could cancel


class Resampler:
    """Blocks float32 [n, channels] at one rate -> float32 [m] at 16 kHz, the mean of the channels, with the filter's state
    kept between blocks. With `pick`, these channels side by side instead: [m, len(pick)].

    Where the channels cancel in their mean, as those of a cable with one wire swapped, the loudest of them is taken from then
    on, and `notice` is told.
    """

    def __init__(
        self,
        rate_hz: int,
        channels: int,
        pick: Sequence[int] | None = None,
        notice: Callable[[str], None] | None = None,
    ) -> None:
        if not RATES_HZ[0] <= rate_hz <= RATES_HZ[-1]:
            raise InputError(
                f"expected a sample rate of {RATES_HZ[0]} to {RATES_HZ[-1]} Hz, got {rate_hz} Hz: convert the sound first"
            )
        if not 1 <= channels <= MOST_CHANNELS:
            raise InputError(f"expected 1 to {MOST_CHANNELS} channels, got {channels}: take some of them out first")
        if pick is not None and not (pick and all(0 <= channel < channels for channel in pick)):
            raise InputError(f"expected channels of 0 to {channels - 1}, got {', '.join(map(str, pick)) or 'none'}")
        self.rate_hz = rate_hz
        self.channels = channels
        self._pick = None if pick is None else list(pick)
        self._notice = notice
        self._powers = np.zeros(channels)
        self._mean_power = 0.0
        self._seen = 0
        self._loudest: int | None = None  # of channels that cancel
        self._stream: Any = None
        if rate_hz != SAMPLE_RATE_HZ:
            import soxr

            width = len(pick) if pick else 1
            self._stream = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, width, dtype="float32", quality="HQ")

    def push(self, block: NDArray[np.float32]) -> Samples:
        """One block float32 [n, channels] (or [n] when mono) -> the samples that are ready, float32 [m]; m may be 0."""
        block = block[:, None] if block.ndim == 1 else block
        if block.ndim != 2 or block.shape[1] != self.channels:
            raise InputError(f"expected blocks of {self.channels} channels, got an array of shape {block.shape}")
        if self._pick is not None:
            mono = block[:, self._pick]
        else:
            mono = block[:, 0] if self.channels == 1 else self._mixed(block)
        return self._resample(np.ascontiguousarray(mono, np.float32), last=False)

    def _mixed(self, block: Samples) -> Samples:
        """[n, channels] -> their mean [n], or the loudest where they cancel in it."""
        mean: Samples = block.mean(axis=1)
        if self._loudest is None:
            self._powers += np.square(block, dtype=np.float64).sum(0)
            self._mean_power += float(np.square(mean, dtype=np.float64).sum())
            self._seen += len(block)
            if self._cancel():
                self._loudest = int(self._powers.argmax())
                if self._notice:
                    self._notice(
                        f"expected channels that add up, got {self.channels} that cancel each other: channel {self._loudest} alone is heard"
                    )
        return mean if self._loudest is None else block[:, self._loudest]

    def _cancel(self) -> bool:
        """Whether the mean is far quieter than that of sounds which have nothing to do with each other."""
        if self._seen < CANCEL_SECONDS * self.rate_hz or self._powers.max() < LEAST_POWER * self._seen:
            return False
        return self._mean_power < CANCEL_SHARE * float(self._powers.sum()) / self.channels**2

    def flush(self) -> Samples:
        """What the filter still holds after the last block, float32 [m] (or [m, picked]); the resampler is used up."""
        shape = (0,) if self._pick is None else (0, len(self._pick))
        return self._resample(np.zeros(shape, np.float32), last=True)

    def _resample(self, samples: Samples, *, last: bool) -> Samples:
        out = samples if self._stream is None else self._stream.resample_chunk(samples, last=last)
        return np.clip(out, -1, 1).astype(np.float32, copy=False)


def resampler(
    rate_hz: int, channels: int, pick: Sequence[int] | None = None, notice: Callable[[str], None] | None = None
) -> Resampler:
    """A resampler for a stream of that rate and number of channels."""
    return Resampler(rate_hz, channels, pick, notice)
