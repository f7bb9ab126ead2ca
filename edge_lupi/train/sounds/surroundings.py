"""Waveform augmentation: all that may happen to sound between a mouth and the student. float32 [B, T] at 16 kHz -> the same shape.

In the order of the world: a room, other sounds in it, the microphone's level, clipping and constant, and the wire behind
it. Every row draws for itself whether it meets each of them; only rows that do are computed. Draws that follow the row come
from the CPU, the same on any device; noise by the sample comes from a generator on the device.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from edge_lupi.train.examples.draw import Draw
from edge_lupi.train.recipe import AugmentRecipe
from edge_lupi.train.sounds.microphone import at_level, clipped, with_constant
from edge_lupi.train.sounds.noises import KINDS, MOST_VOICES, added, babble, noise
from edge_lupi.train.sounds.rooms import Rooms
from edge_lupi.train.sounds.wires import LAWS, telephone

__all__ = ["Surroundings"]

LOUDEST_CONSTANT = 0.1  # of full scale
HARDEST_CLIPPING = 0.1  # of the peak
LOWEST_EDGES_HZ = (50.0, 300.0)  # of a telephone's band: G.711 itself, and the handsets of old
HIGHEST_EDGES_HZ = (3400.0, 3900.0)


class Surroundings:
    """By the shares of a recipe's [augment]; rooms are made here, once."""

    def __init__(self, recipe: AugmentRecipe, seed: int, device: torch.device) -> None:
        self.recipe = recipe
        self.rooms = Rooms(seed, recipe.room_seconds, device) if recipe.rooms else None

    def __call__(self, samples: Tensor, draw: Draw) -> Tensor:
        """[B, T] as the student hears it."""
        recipe, batch = self.recipe, len(samples)
        seed = int(draw.uniform(batch)[0] * (1 << 24))
        generator = torch.Generator(samples.device).manual_seed(seed)
        clean, length = samples, samples.shape[1]
        if self.rooms:
            samples = _for_share(samples, recipe.rooms, draw, 1, lambda x, _, c: self._room(x, c))
        if recipe.babble:
            ratio = recipe.babble_db

            def voices(x: Tensor, rows: Tensor, chance: Tensor) -> Tensor:
                return added(x, babble(clean, rows, chance[:, 1:]), between(ratio, chance[:, 0]))

            samples = _for_share(samples, recipe.babble, draw, MOST_VOICES + 2, voices)
        if recipe.noises:

            def sounds(x: Tensor, _: Tensor, chance: Tensor) -> Tensor:
                made = noise((chance[:, 1] * len(KINDS)).long(), chance[:, 2:], length, generator)
                return added(x, made, between(recipe.noises_db, chance[:, 0]))

            samples = _for_share(samples, recipe.noises, draw, 4, sounds)
        if recipe.levels:
            samples = _for_share(
                samples, recipe.levels, draw, 1, lambda x, _, c: at_level(x, between(recipe.levels_db, c[:, 0]))
            )
        if recipe.clipping:
            samples = _for_share(
                samples, recipe.clipping, draw, 1, lambda x, _, c: clipped(x, between((HARDEST_CLIPPING, 1.0), c[:, 0]))
            )
        if recipe.constants:
            samples = _for_share(
                samples,
                recipe.constants,
                draw,
                1,
                lambda x, _, c: with_constant(x, (2 * c[:, 0] - 1) * LOUDEST_CONSTANT),
            )
        if recipe.wires:
            samples = _for_share(samples, recipe.wires, draw, 3, lambda x, _, c: _wired(x, c))
        return samples

    def _room(self, samples: Tensor, chance: Tensor) -> Tensor:
        assert self.rooms is not None
        return self.rooms.heard(samples, chance[:, 0])


def between(bounds: tuple[float, ...], chance: Tensor) -> Tensor:
    """Numbers [R] between two bounds by chances [R] in [0, 1)."""
    return bounds[0] + (bounds[-1] - bounds[0]) * chance


def _wired(samples: Tensor, chance: Tensor) -> Tensor:
    law = (chance[:, 0] * len(LAWS)).long()
    return telephone(samples, law, between(LOWEST_EDGES_HZ, chance[:, 1]), between(HIGHEST_EDGES_HZ, chance[:, 2]))


def _for_share(
    samples: Tensor,
    share: float,
    draw: Draw,
    numbers: int,
    change: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Tensor:
    """`change(rows' samples [R, T], their places [R], chances [R, numbers])` for a share of the rows, which are drawn here."""
    chance = draw.uniform(len(samples), numbers + 1)
    rows = torch.nonzero(chance[:, 0] < share)[:, 0]
    if not len(rows):
        return samples
    there = rows.to(samples.device)
    return samples.index_copy(0, there, change(samples[there], rows, chance[rows, 1:]))
