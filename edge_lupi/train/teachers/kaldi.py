"""Kaldi's log filter banks, whole batches at once on any device. samples float32 [B, T] at 16 kHz -> float32 [B, F, 80].

As torchaudio.compliance.kaldi.fbank(num_mel_bins=80, dither=0) gives row by row: 25 ms every 10 ms, F = (T - 400) // 160 + 1,
no constant, pre-emphasis .97, Povey's window, 20 Hz to 8 kHz on the mel scale of O'Shaughnessy.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from edge_lupi.frames import FFT_POINTS, HOP_SAMPLES, MELS, SAMPLE_RATE_HZ, WINDOW_SAMPLES

__all__ = ["fbank", "kaldi_fbank"]

LOWEST_HZ = 20.0
EMPHASIS = 0.97
FLOOR = torch.finfo(torch.float32).eps


def kaldi_fbank(samples: Tensor) -> Tensor:
    """float32 [B, T] in [-1, 1] -> float32 [B, F, 80], less the mean over time."""
    banks = fbank(samples)
    return banks - banks.mean(1, keepdim=True)


def fbank(samples: Tensor) -> Tensor:
    """float32 [B, T] in [-1, 1] -> float32 [B, F, 80]."""
    window, filters = _tables(samples.device)
    framed = samples.unfold(-1, WINDOW_SAMPLES, HOP_SAMPLES)
    framed = framed - framed.mean(-1, keepdim=True)
    before = torch.cat([framed[..., :1], framed[..., :-1]], -1)
    spectrum = torch.fft.rfft((framed - EMPHASIS * before) * window, FFT_POINTS)
    power = spectrum.real.square() + spectrum.imag.square()
    result: Tensor = (power @ filters).clamp_min(FLOOR).log()
    return result


@cache
def _tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """Window [400] and filters [257, 80]."""
    window = torch.hann_window(WINDOW_SAMPLES, periodic=False, dtype=torch.float64) ** 0.85
    mel = _mel(torch.arange(FFT_POINTS // 2 + 1, dtype=torch.float64) * (SAMPLE_RATE_HZ / FFT_POINTS))[:, None]
    low, high = _mel(torch.tensor([LOWEST_HZ, SAMPLE_RATE_HZ / 2], dtype=torch.float64))
    step = (high - low) / (MELS + 1)
    left = low + step * torch.arange(MELS, dtype=torch.float64)
    filters = torch.minimum((mel - left) / step, (left + 2 * step - mel) / step).clamp_min(0)
    filters[-1] = 0  # Kaldi leaves the Nyquist frequency out
    return window.float().to(device), filters.float().to(device)


def _mel(hz: Tensor) -> Tensor:
    return 1127 * (1 + hz / 700).log()
