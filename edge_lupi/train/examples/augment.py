"""Data augmentation on log-mel: level, noise, reverberation, warping, tempo, filters, masks. log-mel float32 [B, 80, 1, F] -> the same shape.

The log-mel of a corpus is computed once, and reverberation and noise happen to its power, without the samples:
noise adds up with a random phase between it and the speech, reverberation is an exponential decay
along time (Lebart et al. 2001). Level is an offset. Masks in time and frequency are SpecAugment (Park et al. 2019, arXiv
1904.08779); other heads are vocal tract length perturbation (Jaitly and Hinton 2013), other voices and microphones a smooth
filter (FilterAugment, Nam et al. 2022, arXiv 2110.03282). Labels and teacher embeddings stay what they were for the clean
sound.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from edge_lupi.frames import FFT_POINTS, FRAMES_PER_SECOND, LOG_FLOOR, MELS, SAMPLE_RATE_HZ, mel_filters, window
from edge_lupi.models.front_end import cut
from edge_lupi.train.examples.draw import Draw
from edge_lupi.train.recipe import AugmentRecipe, Recipe

__all__ = ["add_noise", "add_reverb", "disturb", "disturbed_segments", "equalise", "mask", "shift", "tempo", "warp"]

SILENCE = math.log(LOG_FLOOR)
EQUALISER_BANDS = 6


def disturbed_segments(frames: Tensor, recipe: Recipe, draw: Draw) -> Tensor:
    """log-mel crops [B, 80, 1, F] -> their segments [B, S, 80, 1, segment] as a training step hears them."""
    spoken = frames
    for change in (shift, warp, tempo, equalise, disturb, mask):
        spoken = change(spoken, recipe.augment, draw)
    return cut(spoken, recipe.segments.segmentation)[:, :: recipe.segments.every]


def shift(frames: Tensor, recipe: AugmentRecipe, draw: Draw) -> Tensor:
    """Every row is moved along time, forth or back, by up to so many frames; silence moves in. [B, 80, 1, F] -> the same."""
    if not recipe.shift_frames:
        return frames
    batch, mels, _, count = frames.shape
    by = ((2 * draw.uniform(batch, 1) - 1) * (recipe.shift_frames + 0.5)).round().long()
    place = torch.arange(count)[None] - by
    inside = ((place >= 0) & (place < count))[:, None, None, :].to(frames.device)
    place = place.clamp(0, count - 1)[:, None, None, :].expand(-1, mels, 1, -1).to(frames.device)
    return torch.where(inside, frames.gather(3, place), torch.full_like(frames, SILENCE))


def warp(frames: Tensor, recipe: AugmentRecipe, draw: Draw) -> Tensor:
    """Every row's frequencies are multiplied, formants and pitch alike, by 1 - warp to 1 + warp. [B, 80, 1, F] -> the same.

    What lay above 8 kHz is not known; the highest band stands for it.
    """
    if not recipe.warp:
        return frames
    factor = 1 + (2 * draw.uniform(len(frames), 1) - 1) * recipe.warp
    top = math.log1p(SAMPLE_RATE_HZ / 2 / 700)
    height = torch.arange(1, MELS + 1)[None] * top / (MELS + 1)  # of the bands' centres, on the mel scale
    place = torch.log1p(torch.expm1(height) / factor) / top * (MELS + 1) - 1  # [B, 80]: whose sound a band now has
    place = place.clamp(0, MELS - 1)
    below = place.floor().clamp_max(MELS - 2)
    share = (place - below)[:, :, None, None].to(frames.device)
    index = below.long()[:, :, None, None].expand(-1, -1, 1, frames.shape[3]).to(frames.device)
    return torch.lerp(frames.gather(1, index), frames.gather(1, index + 1), share)


def tempo(frames: Tensor, recipe: AugmentRecipe, draw: Draw) -> Tensor:
    """Every row is spoken 1 - tempo to 1 + tempo times as fast, its frequencies kept. [B, 80, 1, F] -> the same.

    Of a slower row some stretch fills the crop; a faster one has silence before and after it.
    """
    if not recipe.tempo:
        return frames
    batch, mels, _, count = frames.shape
    pace = 1 + (2 * draw.uniform(batch, 1) - 1) * recipe.tempo
    start = draw.uniform(batch, 1) * (count - 1) * (1 - pace)
    place = start + pace * torch.arange(count)[None]  # [B, F]: which frame is now heard
    outside = ((place < 0) | (place > count - 1))[:, None, None, :].to(frames.device)
    below = place.floor().clamp(0, count - 2)
    share = (place - below)[:, None, None, :].to(frames.device)
    index = below.long()[:, None, None, :].expand(-1, mels, 1, -1).to(frames.device)
    return torch.lerp(frames.gather(3, index), frames.gather(3, index + 1), share).masked_fill(outside, SILENCE)


def equalise(frames: Tensor, recipe: AugmentRecipe, draw: Draw) -> Tensor:
    """Every row goes through a filter of its own, its gain in dB linear between random ones along the mel scale. [B, 80, 1, F] -> the same."""
    if not recipe.equaliser_db:
        return frames
    knots = (2 * draw.uniform(len(frames), 1, EQUALISER_BANDS) - 1) * recipe.equaliser_db * math.log(10) / 10
    gain = F.interpolate(knots, MELS, mode="linear", align_corners=True)[:, 0, :, None, None]
    return (frames + gain.to(frames.device)).clamp_min(SILENCE)


def disturb(frames: Tensor, recipe: AugmentRecipe, draw: Draw) -> Tensor:
    """For a share of the batch reverberation, for a share noise, for all a random level. [B, 80, 1, F] -> the same."""
    batch = len(frames)
    if recipe.reverb_share:
        low, high = recipe.reverb_seconds
        wet = draw.uniform(batch, 1, 1, 1) < recipe.reverb_share
        seconds = low + (high - low) * draw.uniform(batch)
        frames = torch.where(wet.to(frames.device), add_reverb(frames, seconds), frames)
    if recipe.noise_share:
        low, high = recipe.snr_db
        noisy = draw.uniform(batch, 1, 1, 1) < recipe.noise_share
        snr_db = low + (high - low) * draw.uniform(batch)
        frames = torch.where(noisy.to(frames.device), add_noise(frames, snr_db, draw), frames)
    gain_db = (2 * draw.uniform(batch, 1, 1, 1) - 1) * recipe.gain_db
    return (frames + gain_db.to(frames.device) * math.log(10) / 10).clamp_min(SILENCE)


def add_noise(frames: Tensor, snr_db: Tensor, draw: Draw) -> Tensor:
    """Noise between white and pink (power 1/f^a, a in 0..1, flat below 40 Hz) at a ratio [B] in dB to each row's mean power.

    A mel band of k independent bins holds 2k normals of noise. One of them adds to the speech with its sign, the squares
    of the rest are a gamma of shape k - 1/2 (drawn by the cube of a normal, Wilson and Hilferty 1931).
    """
    batch, device = len(frames), frames.device
    centre_hz, weight, bins = (t.to(device) for t in _bands())
    slope = draw.uniform(batch, 1, 1, 1).to(device)
    colour = weight * (centre_hz / 40).clamp_min(1) ** (-slope)  # [B, 80, 1, 1]: mean mel power of unit noise
    total = (centre_hz / 40).clamp_min(1) ** (-slope) * _width_hz().to(device)
    power = _power(frames)
    ratio = 10 ** (-snr_db.to(device) / 10)[:, None, None, None]
    speech = (power / weight * _width_hz().to(device)).sum(1, keepdim=True).mean(3, keepdim=True)
    level = colour * ratio * speech / total.sum(1, keepdim=True)
    along = power.sqrt() + (level / (2 * bins)).sqrt() * draw.normal(*frames.shape).to(device)
    shape = bins - 0.5
    cube_root = 1 - 1 / (9 * shape) + draw.normal(*frames.shape).to(device) / (3 * shape.sqrt())
    rest = level * (shape / bins) * cube_root.clamp_min(0) ** 3
    return torch.log(along.square() + rest + LOG_FLOOR)


def _power(frames: Tensor) -> Tensor:
    """What the logarithm was taken of, without its floor."""
    return (frames.exp() - LOG_FLOOR).clamp_min(0)


@cache
def _bands() -> tuple[Tensor, Tensor, Tensor]:
    """Of every mel band, each [80, 1, 1]: centre in Hz, sum of its filter, and how many independent bins it is worth."""
    filters = torch.from_numpy(mel_filters()).double()
    hz = torch.arange(len(filters)).double() * SAMPLE_RATE_HZ / FFT_POINTS
    weight = filters.sum(0)
    spread = torch.fft.fft(torch.from_numpy(window()).double().square(), FFT_POINTS).abs().square()
    apart = torch.arange(len(filters))
    alike = (spread / spread[0])[(apart[:, None] - apart[None]).abs()]  # correlation of the power in two bins
    bins = weight.square() / torch.einsum("im,ij,jm->m", filters, alike, filters)
    return tuple(x.float()[:, None, None] for x in ((hz @ filters) / weight, weight, bins))  # type: ignore[return-value]


@cache
def _width_hz() -> Tensor:
    """Share of the spectrum between the neighbours of every band, [80, 1, 1]."""
    centre = _bands()[0].flatten()
    edges = torch.cat([centre[:1] * 0, (centre[1:] + centre[:-1]) / 2, torch.tensor([SAMPLE_RATE_HZ / 2.0])])
    return edges.diff()[:, None, None]


def add_reverb(frames: Tensor, seconds: Tensor) -> Tensor:
    """A room whose sound falls by 60 dB in `seconds` [B]; the power of every band leaks into later frames. Level is kept."""
    decay = math.log(1e6) / (seconds.to(frames.device) * FRAMES_PER_SECOND)  # per frame
    length = max(2, math.ceil(float(math.log(1e3) / decay.min())))
    tail = torch.exp(-decay[:, None] * torch.arange(length, device=frames.device))
    tail = tail.masked_fill(tail < 1e-3, 0)  # to -30 dB, whatever the other rows' rooms
    tail[:, 1:] *= 0.5  # a microphone at arm's length: direct sound well above the room
    tail = (tail / tail.sum(1, keepdim=True)).flip(1)
    batch, mels, _, count = frames.shape
    power = F.pad(_power(frames).reshape(1, batch * mels, count), (length - 1, 0))
    wet = F.conv1d(power, tail.repeat_interleave(mels, 0)[:, None], groups=batch * mels)
    return torch.log(wet.reshape(frames.shape) + LOG_FLOOR)


def mask(frames: Tensor, recipe: AugmentRecipe, draw: Draw) -> Tensor:
    """One stretch of frames and one of mel bands fall silent in every row. [B, 80, 1, F] -> the same."""
    batch, mels, _, count = frames.shape
    hidden = _stretch(batch, count, recipe.time_mask_frames, draw)[:, None, None, :]
    hidden = hidden | _stretch(batch, mels, recipe.mel_mask, draw)[:, :, None, None]
    return frames.masked_fill(hidden.to(frames.device), SILENCE)


def _stretch(batch: int, length: int, longest: int, draw: Draw) -> Tensor:
    """bool [B, length], true on a stretch of 0 to `longest` places."""
    width = draw.uniform(batch, 1) * longest
    start = draw.uniform(batch, 1) * (length - width)
    place = torch.arange(length)[None]
    return (place >= start) & (place < (start + width).floor())
