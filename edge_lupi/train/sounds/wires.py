"""Telephone simulation: the band of 8 kHz and the 8 bits of G.711. samples float32 [B, T] at 16 kHz -> the same shape.

Companding is the continuous A-law (A = 87.6) and mu-law (mu = 255) that G.711's segments approximate. What is still
wide-band in the recording is taken by a filter in the spectrum, whose edges are a raised cosine.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from edge_lupi.frames import SAMPLE_RATE_HZ

__all__ = ["LAWS", "a_law", "mu_law", "telephone"]

A = 87.6
MU = 255.0
LEVELS = 127  # on either side of zero
EDGE_HZ = 100.0  # from nothing to everything
LAWS = ("none", "a-law", "mu-law")


def telephone(samples: Tensor, law: Tensor, low_hz: Tensor, high_hz: Tensor) -> Tensor:
    """Every row [B, T] at 8 kHz between its edges [B] in Hz, quantised by the law [B] that LAWS numbers, and at 16 kHz again."""
    batch, length = samples.shape
    device = samples.device
    even = length + length % 2
    hz = torch.arange(even // 2 + 1, device=device) * (SAMPLE_RATE_HZ / even)
    low, high = (edge.to(device)[:, None] for edge in (low_hz, high_hz))
    band = _rise((hz - low) / EDGE_HZ + 0.5) * _rise((high - hz) / EDGE_HZ + 0.5)
    spectrum = torch.fft.rfft(samples, even) * band
    half = even // 2
    narrow = torch.fft.irfft(spectrum[:, : half // 2 + 1], half) / 2
    which = law.to(device)[:, None]
    coded = torch.where(which == 1, a_law(narrow), torch.where(which == 2, mu_law(narrow), narrow))
    back = torch.fft.rfft(coded, half) * 2
    # the bin at 4 kHz stands for two where there are no others above it: left out, as the band ends below it
    wide = torch.zeros(batch, even // 2 + 1, dtype=back.dtype, device=device)
    wide[:, : half // 2] = back[:, : half // 2]
    result: Tensor = torch.fft.irfft(wide, even)[:, :length]
    return result


def a_law(samples: Tensor) -> Tensor:
    """float32 in [-1, 1], beyond which it clips -> the nearest of 255 values, dense about zero."""
    size = samples.abs().clamp_max(1)
    whole = 1 + math.log(A)
    small = size < 1 / A
    packed = torch.where(small, A * size, 1 + (A * size).clamp_min(1).log()) / whole
    packed = (packed * LEVELS).round() / LEVELS * whole
    return samples.sign() * torch.where(packed < 1, packed / A, (packed - 1).exp() / A)


def mu_law(samples: Tensor) -> Tensor:
    """float32 in [-1, 1], beyond which it clips -> the nearest of 255 values, dense about zero."""
    packed = torch.log1p(MU * samples.abs().clamp_max(1)) / math.log1p(MU)
    packed = (packed * LEVELS).round() / LEVELS
    return samples.sign() * torch.expm1(packed * math.log1p(MU)) / MU


def _rise(share: Tensor) -> Tensor:
    """0 below 0, 1 above 1, half a cosine between."""
    return 0.5 - 0.5 * torch.cos(math.pi * share.clamp(0, 1))
