"""Waveform crops, drawn again in every epoch: any sample, any speed, disturbed on the waveform. Utterances -> batches of log-mel.

All of it happens on the device that trains. An epoch hears as many crops of an utterance as fit into it. At another speed a
voice is another voice: at one of the recipe's `speeds` it has a class of its own, at a free speed, and with other formants, nobody's name. Before a crop
the student's surroundings hear a quarter of a second more, so that a room has something to answer; a teacher hears the crop
itself, clean, or more around it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edge_lupi.errors import InputError
from edge_lupi.frames import HOP_SAMPLES, SAMPLE_RATE_HZ
from edge_lupi.models.front_end import log_mel
from edge_lupi.task import verifies
from edge_lupi.train.examples.batch import Batch
from edge_lupi.train.examples.clips import UNLABELLED
from edge_lupi.train.examples.draw import Draw
from edge_lupi.train.examples.epochs import FEWEST_ROWS, epoch_seed
from edge_lupi.train.examples.prepared import Prepared
from edge_lupi.train.recipe import Recipe
from edge_lupi.train.sounds.coded import coded_sounds
from edge_lupi.train.sounds.formants import with_formants
from edge_lupi.train.sounds.sounds import Sounds, load_sounds
from edge_lupi.train.sounds.surroundings import Surroundings, between

__all__ = ["FreshCrops", "fresh_crops", "margin_samples"]

LEAD_FRAMES = 25
LEAD_SAMPLES = LEAD_FRAMES * HOP_SAMPLES
OWN_NUMBERS = 1 << 40  # between the seeds of crops and those of the loop


@dataclass(frozen=True)
class FreshCrops:
    """Epochs of a corpus: `labels` int64 [N] number its classes at speed 1, or are UNLABELLED."""

    recipe: Recipe
    sounds: Sounds
    labels: Tensor
    classes: int
    size: int
    seed: int
    around: Surroundings
    coded: Sounds | None = None
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if len(self._all) < FEWEST_ROWS * self.world:
            raise InputError(
                f"expected at least {FEWEST_ROWS * self.world} crops to train on, of which batch norm takes a mean, got {len(self._all)}: bring more, or hold out fewer"
            )

    @property
    def steps(self) -> int:
        """Batches in an epoch; what does not fill a batch waits for another epoch, unless there is no other batch."""
        return max(1, len(self._all) // self.size)

    @property
    def labelled(self) -> float:
        """Share of the crops whose label is known."""
        share = float((self.labels[self._all] != UNLABELLED).float().mean())
        return share * (1 - self.recipe.augment.free_speeds if self._verifies else 1)

    def __call__(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch, or this process's share of each."""
        seed = epoch_seed(self.seed, epoch)
        order = torch.from_numpy(np.random.default_rng(seed).permutation(self._all.numpy()))
        draw = Draw(seed + OWN_NUMBERS, self.rank, self.world)
        for start in range(0, self.steps * self.size, self.size):
            rows = order[start : start + self.size]
            each = len(rows) // self.world
            if each >= FEWEST_ROWS:
                yield self._batch(rows[self.rank * each : (self.rank + 1) * each], draw)

    @cached_property
    def _all(self) -> Tensor:
        """Every utterance as often as an epoch hears it."""
        crop = self.recipe.segments.crop_seconds * SAMPLE_RATE_HZ
        times = (self.sounds.lengths / crop).round().clamp_min(1).long() * self.recipe.data.rounds
        return torch.repeat_interleave(torch.arange(len(times)), times)

    @property
    def _verifies(self) -> bool:
        return verifies(self.recipe.data.task)

    def _batch(self, which: Tensor, draw: Draw) -> Batch:
        chance = draw.uniform(len(which), 5)
        number, speed = self._speeds(chance[:, :3])
        labels = self.labels[which]
        if self._verifies:
            named = labels + number.clamp_min(0) * self.classes
            labels = torch.where((labels == UNLABELLED) | (number < 0), UNLABELLED, named)
        length = self.recipe.segments.crop_frames * HOP_SAMPLES
        room = (self.sounds.lengths[which] - speed * length).clamp_min(0)
        first = (chance[:, 3] * room).long()
        margin = margin_samples(self.recipe)
        before = max(margin, LEAD_SAMPLES)
        free = number < 0
        factor = self._formants(len(which), draw)
        clean = self._voiced(self.sounds.crops(which, first, speed, before + length + margin, before), free, factor)
        heard = clean[:, before - LEAD_SAMPLES : before + length]
        if self.coded:
            rows = torch.nonzero(chance[:, 4] < self.recipe.augment.codecs)[:, 0]
            back = self.coded.crops(which[rows], first[rows], speed[rows], LEAD_SAMPLES + length, LEAD_SAMPLES)
            back = self._voiced(back, free[rows], factor[rows])
            heard = heard.index_copy(0, rows.to(heard.device), back)
        frames = log_mel(self.around(heard, draw))[..., LEAD_FRAMES:]
        none = (0,) * len(which)
        teachers_hear = clean[:, before - margin : before + length + margin]
        return Batch(frames, labels.to(frames.device), tuple(which.tolist()), none, None, clean=teachers_hear)

    def _speeds(self, chance: Tensor) -> tuple[Tensor, Tensor]:
        """Which of the recipe's speeds (-1: a free one), and the speed itself; int64 and float64 [B]."""
        recipe = self.recipe.augment
        number = (chance[:, 0] * len(recipe.speeds)).long()
        listed = torch.tensor(recipe.speeds, dtype=torch.float64)[number]
        free = _factor(recipe.speed_range, chance[:, 2].double())
        freed = chance[:, 1] < recipe.free_speeds
        return torch.where(freed, -1, number), torch.where(freed, free, listed)

    def _formants(self, batch: int, draw: Draw) -> Tensor:
        """A factor for every row, 1 where the recipe moves none; float64 [B]."""
        wanted = self.recipe.augment.formant_range
        if wanted == (1.0, 1.0):
            return torch.ones(batch, dtype=torch.float64)
        return _factor(wanted, draw.uniform(batch, 1)[:, 0].double())

    def _voiced(self, samples: Tensor, free: Tensor, factor: Tensor) -> Tensor:
        """Rows of free voices with their formants moved. [B, T] -> [B, T]."""
        rows = torch.nonzero(free & (factor != 1))[:, 0]
        if not len(rows):
            return samples
        there = rows.to(samples.device)
        return samples.index_copy(0, there, with_formants(samples[there], factor[rows]))


def _factor(bounds: tuple[float, ...], chance: Tensor) -> Tensor:
    """Even on a logarithmic scale between two bounds."""
    low, high = (math.log(bound) for bound in bounds)
    return between((low, high), chance).exp()


def margin_samples(recipe: Recipe) -> int:
    """How much before and after a crop some teacher hears."""
    cut = recipe.segments
    own = {"utterance": cut.crop_frames, "segment": cut.segmentation.frames}
    more = [t.hears_seconds * SAMPLE_RATE_HZ - own[t.place] * HOP_SAMPLES for t in recipe.teachers]
    return max(0, math.ceil(max(more, default=0) / 2))


def fresh_crops(
    recipe: Recipe,
    prepared: Prepared,
    size: int,
    seed: int,
    folder: Path,
    device: torch.device,
    rank: int = 0,
    world: int = 1,
) -> FreshCrops:
    """The training speech of a recipe on a device; where there are teachers, with what nobody labelled. `folder` keeps results."""
    index = {label: number for number, label in enumerate(prepared.classes)}
    more = prepared.split.unlabelled if recipe.teachers else ()
    sounds = load_sounds([*prepared.split.train, *more], recipe.segments.trim_db, device)
    labels = [*(index[u.label] for u in prepared.split.train), *[UNLABELLED] * len(more)]
    coded = None
    if recipe.augment.codecs:
        coded = coded_sounds(sounds, recipe.seed, folder)
    around = Surroundings(recipe.augment, recipe.seed, device)
    return FreshCrops(
        recipe, sounds, torch.tensor(labels), len(prepared.classes), size, seed, around, coded, rank, world
    )
