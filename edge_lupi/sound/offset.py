"""DC offset removal: a constant, as cheap and I2S microphones add it, taken out of the signal. float32 [T] -> float32 [T], state carried.

A one-pole mean over a quarter of a second, from the means of frames of 10 ms, is drawn as a line through every frame and
subtracted: a high-pass at 0.6 Hz, far below any voice. It begins with the mean of the first 0.1 s, so that nothing has to
settle. Training, evaluation and the stream all hear what this leaves: `read_audio` and `Segmenter` use it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge_lupi.frames import FRAMES_PER_SECOND, HOP_SAMPLES

__all__ = ["OffsetRemoval", "without_offset"]

MEAN_SECONDS = 0.25
FIRST_FRAMES = 10  # no segment and no recording is shorter
SHARE = 1 - math.exp(-1 / (MEAN_SECONDS * FRAMES_PER_SECOND))
ALONG = (np.arange(1, HOP_SAMPLES + 1) / HOP_SAMPLES).astype(np.float32)


class OffsetRemoval:
    """One stream's. Whole frames at a time, and the answer does not depend on how many."""

    def __init__(self) -> None:
        self._mean: float | None = None

    def removed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The next samples [T], in [-1, 1]; what is no whole frame at the end is the end of the stream."""
        frames = len(samples) // HOP_SAMPLES
        whole = samples[: frames * HOP_SAMPLES].reshape(frames, HOP_SAMPLES)
        means = self._means(np.add.reduce(whole, 1) / np.float32(HOP_SAMPLES), samples)
        out = np.empty(len(samples), np.float32)
        lines = np.multiply((means[1:] - means[:-1])[:, None], ALONG, out=out[: whole.size].reshape(whole.shape))
        lines += means[:-1, None]
        np.subtract(whole, lines, out=lines)
        if whole.size < len(samples):
            np.subtract(samples[whole.size :], means[-1], out=out[whole.size :])
        return np.clip(out, -1, 1, out=out)

    def _means(self, frame_means: NDArray[np.float32], samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """At the beginning and after every frame, float32 [frames + 1]."""
        if self._mean is None:
            first = frame_means[:FIRST_FRAMES] if len(frame_means) else samples
            self._mean = float(first.mean()) if len(first) else 0.0
        means, mean = [self._mean], self._mean
        for frame_mean in frame_means.tolist():
            mean += SHARE * (frame_mean - mean)
            means.append(mean)
        self._mean = mean
        return np.array(means, np.float32)


def without_offset(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """A whole recording float32 [T]."""
    return OffsetRemoval().removed(samples)
