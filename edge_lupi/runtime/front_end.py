"""Log-mel on the CPU: samples float32 [240 + 160 * F] -> float32 [80, F], any F. By FFT, or by the bundle's own graph.

The graph is the truth. The FFT gives the same figures (checked against the golden vectors when a bundle is opened) at
about a third of the graph's time; where it does not, the graph is run.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_lupi.frames import (
    CONTEXT_SAMPLES,
    FFT_POINTS,
    HOP_SAMPLES,
    LOG_FLOOR,
    MELS,
    WINDOW_SAMPLES,
    mel_filters,
    window,
)
from edge_lupi.runtime.engines.onnx_runtime import OnnxEngine

__all__ = ["FftFrontEnd", "GraphFrontEnd"]

BANDS = 16  # whose filters are multiplied at once: neighbours hear the same few bins, and the others are zeros
# OpenBLAS shares a product of more than 262,144 multiplications among all cores (interface/gemm.c), where the waiting
# costs twenty times the work; 100 frames of the highest bands are less.
SMALL_FRAMES = 100


class FftFrontEnd:
    """Callable log-mel front end with its tables computed once."""

    def __init__(self) -> None:
        self._window = window()
        self._groups = _groups(mel_filters())

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [240 + 160 * F] (the 240 samples before the first frame's hop come first) -> float32 [80, F]."""
        windows = _windows(np.ascontiguousarray(samples, np.float32))
        framed = np.zeros((len(windows), FFT_POINTS), np.float32)  # padded here: numpy's own padding costs a fifth more
        np.multiply(windows, self._window, out=framed[:, :WINDOW_SAMPLES])
        spectrum = np.fft.rfft(framed, axis=-1)
        power = np.square(spectrum.real)
        power += np.square(spectrum.imag)
        mel = np.empty((len(power), MELS), np.float32)
        for first in range(0, len(power), SMALL_FRAMES):
            frames = slice(first, first + SMALL_FRAMES)
            for bands, bins, filters in self._groups:
                np.matmul(power[frames, bins], filters, out=mel[frames, bands])
        mel += np.float32(LOG_FLOOR)
        log_mel: NDArray[np.float32] = np.log(mel, out=mel).T
        return log_mel


def _groups(filters: NDArray[np.float32]) -> list[tuple[slice, slice, NDArray[np.float32]]]:
    """Mel filters [257, 80] -> some bands, the bins that they hear, and their filters [bins, bands]."""
    groups = []
    for first in range(0, MELS, BANDS):
        bands = slice(first, first + BANDS)
        heard = np.flatnonzero(filters[:, bands].any(axis=1))
        bins = slice(int(heard[0]), int(heard[-1]) + 1)
        groups.append((bands, bins, np.ascontiguousarray(filters[bins, bands])))
    return groups


def _windows(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """A view [F, 400] of float32 [240 + 160 * F]. numpy's own takes a tenth of the front end's time, through a dict each time."""
    frames = (len(samples) - CONTEXT_SAMPLES) // HOP_SAMPLES
    step = samples.itemsize
    result: NDArray[np.float32] = np.ndarray(
        (frames, WINDOW_SAMPLES), np.float32, samples, strides=(HOP_SAMPLES * step, step)
    )
    return result


class GraphFrontEnd:
    """The front-end graph of a bundle, which takes `frames` at once, for any number of them."""

    def __init__(self, graph: bytes) -> None:
        self._engine = OnnxEngine(graph, name="front_end.onnx")
        self.frames = (int(self._engine.input_shapes["samples"][1]) - CONTEXT_SAMPLES) // HOP_SAMPLES

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [240 + 160 * F], context first -> float32 [80, F]; frames do not hear what comes after them."""
        frames = (len(samples) - CONTEXT_SAMPLES) // HOP_SAMPLES
        return np.concatenate([self._some(samples, first) for first in range(0, frames, self.frames)], 1)[:, :frames]

    def _some(self, samples: NDArray[np.float32], first: int) -> NDArray[np.float32]:
        padded = np.zeros((1, CONTEXT_SAMPLES + self.frames * HOP_SAMPLES), np.float32)
        taken = samples[first * HOP_SAMPLES :][: padded.shape[1]]
        padded[0, : len(taken)] = taken
        return self._engine.run({"samples": padded})["log_mel"][0, :, 0]
