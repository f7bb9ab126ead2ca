"""Additive noise: babble of the batch's other voices, hiss, hum, music. float32 [B, T] at 16 kHz.

Every function gives sounds of any level; `added` sets it by a ratio to the speech. Numbers by the row come from the
CPU's draw, those by the sample from a generator on the device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from edge_lupi.frames import SAMPLE_RATE_HZ

__all__ = ["KINDS", "added", "babble", "hiss", "hum", "music", "noise"]

FEWEST_VOICES, MOST_VOICES = 3, 8  # of a babble
MAINS_HZ = (50.0, 60.0)
HUM_HARMONICS = 12
NOTE_SECONDS = 0.25
NOTES, NOTE_HARMONICS = 3, 6  # at once; of each
LOWEST_NOTE_HZ, SEMITONES = 110.0, 36
KINDS = ("hiss", "hum", "music")


def added(samples: Tensor, sound: Tensor, ratio_db: Tensor) -> Tensor:
    """Speech [B, T] with a sound [B, T] that is as many dB [B] below its mean power."""
    wanted = samples.square().mean(1) * 10 ** (-ratio_db.to(samples.device) / 10)
    gain = (wanted / sound.square().mean(1).clamp_min(1e-12)).sqrt()
    return samples + gain[:, None] * sound


def babble(samples: Tensor, rows: Tensor, chance: Tensor) -> Tensor:
    """For some rows [R] of a batch [B, T] the others' voices [R, T], three to eight of them, each as loud and from another time.

    `chance` [R, MOST_VOICES + 1] in [0, 1) says how many, and which.
    """
    batch, length = samples.shape
    loudness = samples.square().mean(1, keepdim=True).sqrt().clamp_min(1e-6)
    even = samples / loudness
    count = FEWEST_VOICES + (chance[:, 0] * (MOST_VOICES - FEWEST_VOICES + 1)).long()
    found = torch.zeros(len(rows), length, device=samples.device)
    for voice in range(MOST_VOICES):
        other = (rows + 1 + (chance[:, voice + 1] * (batch - 1)).long()) % batch  # never the row itself
        speaks = (voice < count).float().to(samples.device)
        turned = torch.roll(even, (voice + 1) * length // (MOST_VOICES + 1), 1)
        found += speaks[:, None] * turned[other.to(samples.device)]
    return found


def noise(kind: Tensor, chance: Tensor, length: int, generator: torch.Generator) -> Tensor:
    """Rows [R, T] of the kinds [R] that KINDS numbers; `chance` [R, 2] in [0, 1) gives colour, pitch and the like."""
    device = generator.device
    found = torch.zeros(len(kind), length, device=device)
    for number, make in enumerate((hiss, hum, music)):
        rows = torch.nonzero(kind == number)[:, 0]
        if len(rows):
            found[rows.to(device)] = make(chance[rows], length, generator)
    return found


def hiss(chance: Tensor, length: int, generator: torch.Generator) -> Tensor:
    """Noise whose power falls as 1/f^a above 40 Hz, a from 0 (white) over 1 (pink) to 2 (rumble) by the first chance. [R, T]."""
    device = generator.device
    white = torch.randn(len(chance), length, generator=generator, device=device)
    hz = torch.fft.rfftfreq(length, 1 / SAMPLE_RATE_HZ, device=device).clamp_min(40) / 40
    slope = -chance[:, :1].to(device)  # of the amplitude
    result: Tensor = torch.fft.irfft(torch.fft.rfft(white) * hz[None] ** slope, length)
    return result


def hum(chance: Tensor, length: int, generator: torch.Generator) -> Tensor:
    """Mains of 50 or 60 Hz with harmonics of random strength, over a little hiss. [R, T]."""
    device = generator.device
    rows = len(chance)
    mains = torch.tensor(MAINS_HZ, device=device)[(chance[:, 0] * len(MAINS_HZ)).long().to(device)]
    phase = 2 * math.pi * mains[:, None] * torch.arange(length, device=device) / SAMPLE_RATE_HZ
    loudness, turn = torch.rand(2, rows, HUM_HARMONICS, generator=generator, device=device)
    found = 0.05 * hiss(chance[:, 1:], length, generator)
    for harmonic in range(HUM_HARMONICS):
        wave = torch.sin((harmonic + 1) * phase + 2 * math.pi * turn[:, harmonic, None])
        found += loudness[:, harmonic, None].square() * wave
    return found


def music(chance: Tensor, length: int, generator: torch.Generator) -> Tensor:
    """Three struck strings at a time, four notes a second, each of six harmonics. [R, T]."""
    device = generator.device
    rows, note = len(chance), round(NOTE_SECONDS * SAMPLE_RATE_HZ)
    steps = math.ceil(length / note)
    pitch = torch.randint(SEMITONES, (rows, NOTES, steps), generator=generator, device=device)
    hz = LOWEST_NOTE_HZ * 2 ** (pitch / 12)
    time = torch.arange(note, device=device) / SAMPLE_RATE_HZ
    fall = torch.exp(-time * (4 + 12 * chance[:, :1].to(device)))[:, None]  # [R, 1, note]
    found = torch.zeros(rows, steps, note, device=device)
    for string in range(NOTES):
        phase = 2 * math.pi * hz[:, string, :, None] * time
        for harmonic in range(1, NOTE_HARMONICS + 1):
            found += torch.sin(harmonic * phase) * fall / harmonic
    return found.flatten(1)[:, :length]
