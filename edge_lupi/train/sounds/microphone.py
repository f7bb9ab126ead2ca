"""Microphone simulation: level, a constant, clipping. samples float32 [B, T], numbers [B] -> [B, T]."""

from __future__ import annotations

from torch import Tensor

__all__ = ["at_level", "clipped", "with_constant"]


def at_level(samples: Tensor, level_db: Tensor) -> Tensor:
    """Every row's root mean square at so many dB below full scale (negative), clipped where that is beyond it."""
    wanted = 10 ** (level_db.to(samples.device)[:, None] / 20)
    loudness = samples.square().mean(1, keepdim=True).sqrt()
    return (samples * wanted / loudness.clamp_min(1e-6)).clamp(-1, 1)


def with_constant(samples: Tensor, constant: Tensor) -> Tensor:
    """A constant added to the signal, as cheap sound cards do."""
    return (samples + constant.to(samples.device)[:, None]).clamp(-1, 1)


def clipped(samples: Tensor, share: Tensor) -> Tensor:
    """Nothing is louder than such a share of the row's own peak; the level is kept."""
    peak = samples.abs().amax(1, keepdim=True) * share.to(samples.device)[:, None]
    cut = samples.clamp(-peak, peak)
    power, before = (x.square().mean(1, keepdim=True) for x in (cut, samples))
    return cut * (before / power.clamp_min(1e-12)).sqrt()
