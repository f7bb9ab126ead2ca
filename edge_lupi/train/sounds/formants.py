"""Formant shift: the spectral envelope is moved along frequency, and the pitch stays. samples float32 [B, T], factors [B] -> [B, T].

The envelope is what is left of the log spectrum when its cepstrum is cut before the shortest pitch period (Oppenheim 1969). With a
speed, which moves pitch and formants alike, the two become free of each other: a raised voice, or a larger head.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["with_formants"]

POINTS, HOP = 512, 128
BINS = POINTS // 2 + 1
SHORTEST_PERIOD = 32  # samples: a pitch of 500 Hz
QUIETEST = 1e-4
MOST_GAIN = 3.0  # nepers


def with_formants(samples: Tensor, factor: Tensor) -> Tensor:
    """Every row's formants at `factor` times their frequency."""
    window = torch.hann_window(POINTS, device=samples.device)
    spectrum = torch.stft(samples, POINTS, HOP, window=window, return_complex=True)
    envelope = _envelope(spectrum)
    gain = (_moved(envelope, factor.to(samples.device).float()) - envelope).clamp(-MOST_GAIN, MOST_GAIN).exp()
    result: Tensor = torch.istft(spectrum * gain, POINTS, HOP, window=window, length=samples.shape[1])
    return result


def _envelope(spectrum: Tensor) -> Tensor:
    """complex [B, K, F] -> the smooth part of its logarithm, float32 [B, K, F]."""
    cepstrum = torch.fft.irfft(spectrum.abs().clamp_min(QUIETEST).log(), dim=1)
    cepstrum[:, SHORTEST_PERIOD : 1 - SHORTEST_PERIOD] = 0
    smooth: Tensor = torch.fft.rfft(cepstrum, dim=1).real
    return smooth


def _moved(envelope: Tensor, factor: Tensor) -> Tensor:
    """[B, K, F] read at K / factor; above the highest bin its last value stands."""
    place = (torch.arange(BINS, device=envelope.device) / factor[:, None]).clamp_max(BINS - 1)
    below = place.floor().clamp_max(BINS - 2)
    index = below.long()[..., None].expand(-1, -1, envelope.shape[2])
    share = (place - below)[..., None]
    return torch.lerp(envelope.gather(1, index), envelope.gather(1, index + 1), share)
