"""Log-mel features. samples float32 [B, T] at 16 kHz -> float32 [B, 80, 1, F], F = T // 160. Twice: FFT and graph.

Training uses the FFT; the graph form (convolution and matrix product, for every runtime) travels in the bundle. Both
give torchaudio's MelSpectrogram(n_fft=512, win_length=400, hop_length=160, n_mels=80, power=2) before the logarithm.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edge_lupi.frames import (
    CONTEXT_SAMPLES,
    FFT_POINTS,
    HOP_SAMPLES,
    LOG_FLOOR,
    WINDOW_SAMPLES,
    Segmentation,
    mel_filters,
    window,
)

__all__ = ["FrontEndGraph", "cut", "cut_samples", "log_mel", "padded_log_mel"]

BINS = FFT_POINTS // 2 + 1


def log_mel(samples: Tensor, *, with_context: bool = False) -> Tensor:
    """float32 [B, T] -> float32 [B, 80, 1, T // 160]; before the first sample there was silence.

    With context, samples [B, 240 + T] begin with the 240 samples before the first frame's hop.
    """
    device = samples.device
    padded = samples if with_context else F.pad(samples, (CONTEXT_SAMPLES, 0))
    framed = padded.unfold(-1, WINDOW_SAMPLES, HOP_SAMPLES)
    spectrum = torch.fft.rfft(framed * torch.from_numpy(window()).to(device), FFT_POINTS)
    power = spectrum.real.square() + spectrum.imag.square()
    mel = power @ torch.from_numpy(mel_filters()).to(device)
    return torch.log(mel + LOG_FLOOR).transpose(1, 2).unsqueeze(2)


def cut(frames: Tensor, segmentation: Segmentation) -> Tensor:
    """log-mel [B, 80, 1, F] -> its segments [B, S, 80, 1, segment]; F is at least one segment."""
    return frames.unfold(-1, segmentation.frames, segmentation.hop_frames).permute(0, 3, 1, 2, 4)


def padded_log_mel(samples: NDArray[np.float32], shortest: int) -> Tensor:
    """Samples float32 [T] -> log-mel [1, 80, 1, F], with silence up to the shortest F."""
    padded = torch.zeros(1, max(shortest * HOP_SAMPLES, len(samples)))
    padded[0, : len(samples)] = torch.from_numpy(samples)
    return log_mel(padded)


def cut_samples(samples: NDArray[np.float32], segmentation: Segmentation) -> Tensor:
    """Samples float32 [T] of a whole utterance -> its segments [1, S, 80, 1, segment], padded with silence to one segment."""
    return cut(padded_log_mel(samples, segmentation.frames), segmentation)


class FrontEndGraph(nn.Module):
    """The same without an FFT: samples [B, 240 + 160 * F], context first -> [B, 80, 1, F]."""

    basis: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        angles = 2 * math.pi / FFT_POINTS * torch.outer(torch.arange(BINS), torch.arange(WINDOW_SAMPLES)).double()
        waves = torch.cat([torch.cos(angles), torch.sin(angles)]) * torch.from_numpy(window()).double()
        self.register_buffer("basis", waves.float()[:, None, None, :])
        self.register_buffer("filters", torch.from_numpy(mel_filters()).T.contiguous()[:, :, None, None])

    def forward(self, samples: Tensor) -> Tensor:
        """float32 [B, 240 + 160 * F] -> float32 [B, 80, 1, F]."""
        waves = F.conv2d(samples[:, None, None, :], self.basis, stride=(1, HOP_SAMPLES)).square()
        power = waves[:, :BINS] + waves[:, BINS:]
        return torch.log(F.conv2d(power, self.filters) + LOG_FLOOR)
