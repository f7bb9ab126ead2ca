"""How sound is cut: samples -> frames (10 ms) -> segments (1 s). Numbers shared by training, graphs and runtime.

A frame is causal: frame f hears the 400 samples that end with sample 160 * (f + 1). So a stream that keeps the
last 240 samples computes every frame once, and F = T // 160 without padding on the right.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edge_lupi.errors import InputError

SAMPLE_RATE_HZ = 16_000
HOP_SAMPLES = SAMPLE_RATE_HZ // 100  # 10 ms
WINDOW_SAMPLES = SAMPLE_RATE_HZ // 40  # 25 ms
CONTEXT_SAMPLES = WINDOW_SAMPLES - HOP_SAMPLES  # what a frame hears of the frames before it
FFT_POINTS = 512
MELS = 80
FRAMES_PER_SECOND = SAMPLE_RATE_HZ // HOP_SAMPLES
LOG_FLOOR = 1e-6  # power; about 20 dB under a quiet room at full microphone gain


def mel_filters() -> NDArray[np.float32]:
    """Triangular filters on the HTK mel scale, 0 to 8 kHz, float32 [257, 80]; torchaudio's `melscale_fbanks` default."""
    bins_hz = np.linspace(0, SAMPLE_RATE_HZ / 2, FFT_POINTS // 2 + 1)
    top_mel = 2595 * np.log10(1 + SAMPLE_RATE_HZ / 2 / 700)
    corners_hz = 700 * (10 ** (np.linspace(0, top_mel, MELS + 2) / 2595) - 1)
    rising = (bins_hz[:, None] - corners_hz[None, :-2]) / np.diff(corners_hz)[None, :-1]
    falling = (corners_hz[None, 2:] - bins_hz[:, None]) / np.diff(corners_hz)[None, 1:]
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def window() -> NDArray[np.float32]:
    """Periodic Hann window, float32 [400]."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW_SAMPLES) / WINDOW_SAMPLES)).astype(np.float32)


@dataclass(frozen=True)
class Segmentation:
    """Length and hop of the pieces that the encoder hears, in seconds; both whole multiples of 10 ms."""

    seconds: float = 1.0
    hop_seconds: float = 0.5

    def __post_init__(self) -> None:
        if not (0.1 <= self.seconds <= 60 and 0.01 <= self.hop_seconds <= self.seconds):
            raise InputError(
                f"expected a segment of 0.1 to 60 s and a hop of 0.01 s up to one segment, "
                f"got segment {self.seconds} s and hop {self.hop_seconds} s"
            )
        for name, value in (("segment", self.seconds), ("hop", self.hop_seconds)):
            if abs(value * FRAMES_PER_SECOND - round(value * FRAMES_PER_SECOND)) > 1e-6:
                raise InputError(f"expected a {name} in whole multiples of 0.01 s, got {value} s")

    @cached_property
    def frames(self) -> int:
        """Frames in a segment."""
        return round(self.seconds * FRAMES_PER_SECOND)

    @cached_property
    def hop_frames(self) -> int:
        """Frames between the starts of two segments."""
        return round(self.hop_seconds * FRAMES_PER_SECOND)

    @cached_property
    def samples(self) -> int:
        """Samples in a segment."""
        return self.frames * HOP_SAMPLES

    @cached_property
    def hop_samples(self) -> int:
        """Samples between the starts of two segments."""
        return self.hop_frames * HOP_SAMPLES

    def count(self, frames: int) -> int:
        """Segments in `frames` frames; what is shorter than one segment is padded to one."""
        return max(1, (frames - self.frames) // self.hop_frames + 1)

    def starts(self, frames: int) -> range:
        """First frame of every segment."""
        return range(0, self.count(frames) * self.hop_frames, self.hop_frames)
