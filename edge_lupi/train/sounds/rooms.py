"""Room simulation by image sources (Allen and Berkley 1979), convolved by FFT. samples float32 [B, T] at 16 kHz -> the same shape.

A bank of impulse responses is made once per run, from its seed: shoeboxes with a mouth and a microphone, near and far.
Reflections of the first 64 ms are images of the mouth; later ones are so dense that noise stands for them, with the power
that images would have, c / (4 pi V) per second, falling by 60 dB in the decay time (RT60); above 2 kHz air and walls take
more, and it falls faster. Time is counted from the direct sound on: what is heard stays beside what was said.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_lupi.frames import SAMPLE_RATE_HZ

__all__ = ["Rooms", "convolved", "impulse_response"]

ROOMS = 256
SOUND_METRES_PER_SECOND = 343.0
SMALLEST_METRES, LARGEST_METRES = np.array([2.5, 2.5, 2.3]), np.array([10.0, 8.0, 4.0])
NEAR_METRES, FAR_METRES = 0.25, 5.0
FROM_WALL_METRES = 0.3
EARLY = 1024  # samples, in which images are told apart
FADE = 384  # of those, in which noise takes over
FINER = 8  # places within a sample where an image may lie
HIGH_HZ, HIGH_DECAY = 2000.0, 0.6  # decay time above, as a share of that below


class Rooms:
    """Impulse responses float32 [ROOMS, R] on a device, decay times spread evenly over `seconds`."""

    def __init__(self, seed: int, seconds: tuple[float, ...], device: torch.device) -> None:
        draw = np.random.default_rng([seed, 11])
        decays = np.linspace(seconds[0], seconds[-1], ROOMS)
        length = EARLY + round(seconds[-1] * SAMPLE_RATE_HZ)
        self.responses = torch.from_numpy(np.stack([impulse_response(draw, s, length) for s in decays])).to(device)

    def heard(self, samples: Tensor, chance: Tensor) -> Tensor:
        """Every row [B, T] in the room that its chance [B] in [0, 1) picks, as loud as it was."""
        which = (chance * len(self.responses)).long().to(samples.device)
        wet = convolved(samples, self.responses[which])
        power, before = (x.square().mean(1, keepdim=True) for x in (wet, samples))
        return wet * (before / power.clamp_min(1e-12)).sqrt()


def convolved(samples: Tensor, responses: Tensor) -> Tensor:
    """[B, T] through [B, R] -> [B, T]: what would come after the end is not heard."""
    length = samples.shape[1]
    points = 1 << (length + responses.shape[1] - 1).bit_length()
    spectrum = torch.fft.rfft(samples, points) * torch.fft.rfft(responses, points)
    result: Tensor = torch.fft.irfft(spectrum, points)[:, :length]
    return result


def impulse_response(draw: np.random.Generator, decay_seconds: float, length: int) -> NDArray[np.float32]:
    """One room, drawn at random: float32 [length], the direct sound first."""
    size = draw.uniform(SMALLEST_METRES, LARGEST_METRES)
    low, high = np.full(3, FROM_WALL_METRES), size - FROM_WALL_METRES
    mouth = draw.uniform(low, high)
    direction = draw.normal(size=3)
    away = math.exp(draw.uniform(math.log(NEAR_METRES), math.log(FAR_METRES)))
    ear = np.clip(mouth + away * direction / np.linalg.norm(direction), low, high)
    direct = max(float(np.linalg.norm(ear - mouth)), NEAR_METRES) / SOUND_METRES_PER_SECOND
    fade = np.zeros(length)
    fade[EARLY:] = 1
    fade[EARLY - FADE : EARLY] = np.linspace(0, 1, FADE)
    found = _late(draw, float(size.prod()), direct, decay_seconds, length) * np.sqrt(fade)
    found[:EARLY] += _early(draw, size, mouth, ear, direct, decay_seconds) * np.sqrt(1 - fade[:EARLY])
    result: NDArray[np.float32] = (found / np.abs(found).max()).astype(np.float32)
    return result


def _early(
    draw: np.random.Generator,
    size: NDArray[np.float64],
    mouth: NDArray[np.float64],
    ear: NDArray[np.float64],
    direct: float,
    decay_seconds: float,
) -> NDArray[np.float64]:
    """The images that arrive within EARLY samples after the direct sound, band-limited [EARLY].

    Their signs are random: all alike, as off rigid walls, they would pile up at low frequencies (Lehmann and Johansson 2008).
    """
    reach = (direct + EARLY / SAMPLE_RATE_HZ) * SOUND_METRES_PER_SECOND
    counts = [np.arange(-n, n + 1) for n in np.ceil(reach / (2 * size)).astype(int)]
    corners = np.stack(np.meshgrid(*counts, indexing="ij"), -1).reshape(-1, 1, 3) * 2 * size
    signs = np.stack(np.meshgrid(*[[-1.0, 1.0]] * 3, indexing="ij"), -1).reshape(1, 8, 3)
    metres = np.maximum(np.linalg.norm(corners + signs * mouth - ear, axis=2).ravel(), NEAR_METRES)
    seconds = metres / SOUND_METRES_PER_SECOND
    place = np.rint((seconds - direct) * SAMPLE_RATE_HZ * FINER).astype(int)
    inside = (place >= 0) & (place < EARLY * FINER)
    loudness = 10 ** (-3 * seconds / decay_seconds) / (4 * np.pi * metres)
    loudness *= np.where(metres > metres.min(), draw.choice([-1.0, 1.0], len(metres)), 1.0)
    fine = np.bincount(place[inside], loudness[inside], EARLY * FINER)
    return np.fft.irfft(np.fft.rfft(fine)[: EARLY // 2 + 1], EARLY)


def _late(
    draw: np.random.Generator, volume: float, direct: float, decay_seconds: float, length: int
) -> NDArray[np.float64]:
    """Noise with the power of the images that are no longer told apart [length]."""
    level = math.sqrt(SOUND_METRES_PER_SECOND / (4 * np.pi * volume * SAMPLE_RATE_HZ))
    seconds = direct + np.arange(length) / SAMPLE_RATE_HZ
    spectrum = np.fft.rfft(draw.normal(size=length))
    below = np.fft.rfftfreq(length, 1 / SAMPLE_RATE_HZ) < HIGH_HZ
    low, high = (np.fft.irfft(spectrum * chosen, length) for chosen in (below, ~below))
    low_falls, high_falls = (10 ** (-3 * seconds / decay) for decay in (decay_seconds, HIGH_DECAY * decay_seconds))
    return level * (low * low_falls + high * high_falls)
