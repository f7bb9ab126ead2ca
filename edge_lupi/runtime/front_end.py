"""Log-mel by FFT, for the CPU: samples float32 [240 + 160 * F] -> float32 [80, F]. Stands in for the front-end graph.

The graph in the bundle is the truth. This class gives the same figures (checked against the golden vectors when a
bundle is opened) at about a third of the graph's time.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from edge_lupi.frames import FFT_POINTS, HOP_SAMPLES, LOG_FLOOR, WINDOW_SAMPLES, mel_filters, window

__all__ = ["FftFrontEnd"]


class FftFrontEnd:
    """Callable log-mel front end with its tables computed once."""

    def __init__(self) -> None:
        self._window = window()
        self._filters = mel_filters()

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [240 + 160 * F] (the 240 samples before the first frame's hop come first) -> float32 [80, F]."""
        framed = sliding_window_view(samples, WINDOW_SAMPLES)[::HOP_SAMPLES] * self._window
        spectrum = np.fft.rfft(framed, FFT_POINTS, axis=-1)
        power = spectrum.real**2 + spectrum.imag**2
        log_mel: NDArray[np.float32] = np.log(power.astype(np.float32) @ self._filters + np.float32(LOG_FLOOR)).T
        return log_mel
