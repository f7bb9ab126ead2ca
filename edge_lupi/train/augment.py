"""What may happen to sound between a mouth and a microphone. samples [B, T] -> [B, T]; log-mel [B, 80, 1, F] -> the same.

Level, coloured noise at a random ratio, and masks in time and frequency (SpecAugment, Park et al. 2019, arXiv
1904.08779). Labels and teacher embeddings stay what they were for the clean sound.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from edge_lupi.frames import LOG_FLOOR
from edge_lupi.models.front_end import cut, log_mel
from edge_lupi.train.recipe import AugmentRecipe, Recipe

__all__ = ["add_noise", "disturb", "disturbed_segments", "mask"]


def disturbed_segments(samples: Tensor, recipe: Recipe, random: torch.Generator) -> Tensor:
    """Crops float32 [B, 240 + T], context first -> log-mel segments [B, S, 80, 1, F] as a training step hears them."""
    frames = log_mel(disturb(samples, recipe.augment, random), with_context=True)
    return cut(mask(frames, recipe.augment, random), recipe.segments.segmentation)


def disturb(samples: Tensor, recipe: AugmentRecipe, random: torch.Generator) -> Tensor:
    """Random level and, for a share of the batch, coloured noise. [B, T] -> [B, T]."""
    batch = len(samples)
    if recipe.noise_share:
        low, high = recipe.snr_db
        snr_db = low + (high - low) * torch.rand(batch, 1, generator=random)
        noisy = torch.rand(batch, 1, generator=random) < recipe.noise_share
        samples = torch.where(noisy.to(samples.device), add_noise(samples, snr_db, random), samples)
    gain_db = (2 * torch.rand(batch, 1, generator=random) - 1) * recipe.gain_db
    return samples * (10 ** (gain_db / 20)).to(samples.device)


def add_noise(samples: Tensor, snr_db: Tensor, random: torch.Generator) -> Tensor:
    """Noise between white and brown (spectrum 1/f^a, a in 0..2) at a ratio [B, 1] in dB to each row's mean power."""
    batch, length = samples.shape
    spectrum = torch.fft.rfft(torch.randn(batch, length, generator=random))
    slope = torch.rand(batch, 1, generator=random)
    bins = torch.arange(1, spectrum.shape[1] + 1).clamp_min(length // 400)  # flat below 40 Hz
    noise = torch.fft.irfft(spectrum * bins ** (-slope), length).to(samples.device)
    wanted = samples.square().mean(1, keepdim=True) * 10 ** (-snr_db.to(samples.device) / 10)
    return samples + noise * (wanted / noise.square().mean(1, keepdim=True).clamp_min(1e-12)).sqrt()


def mask(log_mel: Tensor, recipe: AugmentRecipe, random: torch.Generator) -> Tensor:
    """One stretch of frames and one of mel bands fall silent in every row. [B, 80, 1, F] -> the same."""
    batch, mels, _, frames = log_mel.shape
    hidden = _stretch(batch, frames, recipe.time_mask_frames, random)[:, None, None, :]
    hidden = hidden | _stretch(batch, mels, recipe.mel_mask, random)[:, :, None, None]
    return log_mel.masked_fill(hidden.to(log_mel.device), math.log(LOG_FLOOR))


def _stretch(batch: int, length: int, longest: int, random: torch.Generator) -> Tensor:
    """bool [B, length], true on a stretch of 0 to `longest` places."""
    width = torch.rand(batch, 1, generator=random) * longest
    start = torch.rand(batch, 1, generator=random) * (length - width)
    place = torch.arange(length)[None]
    return (place >= start) & (place < (start + width).floor())
