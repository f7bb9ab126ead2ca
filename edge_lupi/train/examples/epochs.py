"""Epochs of batches: equal crops of examples, in an order and at places of their own in every epoch.

Crops begin on the grid of hops, so a crop's segments are segments of the whole utterance, and the teacher's cached
embeddings belong to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from edge_lupi.errors import InputError
from edge_lupi.frames import LOG_FLOOR, MELS
from edge_lupi.models.sight import as_seen
from edge_lupi.train.examples.batch import Batch, Crops
from edge_lupi.train.examples.clips import Example
from edge_lupi.train.recipe import SegmentRecipe

__all__ = ["FEWEST_ROWS", "Epochs", "batches", "draw_crops", "epoch_seed", "read_ahead", "read_crops"]

FEWEST_ROWS = 2  # of a batch, or of a process's share of it: batch norm needs two
SILENCE = float(np.log(LOG_FLOOR))


@dataclass(frozen=True)
class Epochs:
    """Epoch after epoch of the same examples, each in an order and with crops of its own."""

    examples: Sequence[Example]
    cut: SegmentRecipe
    size: int
    seed: int
    mixup: float = 0.0
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        fewest = FEWEST_ROWS * self.world
        if len(self.examples) < fewest:
            raise InputError(
                f"expected at least {fewest} utterances to train on, of which batch norm takes a mean, got {len(self.examples)}: bring more, or hold out fewer"
            )

    @property
    def steps(self) -> int:
        """Batches in an epoch; what does not fill a batch waits for another epoch, unless there is no other batch."""
        return max(1, len(self.examples) // self.size)

    def __call__(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch, or this process's share of each."""
        seed = epoch_seed(self.seed, epoch)
        crops = draw_crops(
            self.examples, self.cut, self.size, seed=seed, mixup=self.mixup, rank=self.rank, world=self.world
        )
        return read_ahead(self.examples, self.cut, crops)


def epoch_seed(seed: int, epoch: int) -> int:
    """One number per seed and epoch."""
    return seed * 100_003 + epoch


def batches(
    examples: Sequence[Example],
    cut: SegmentRecipe,
    size: int,
    *,
    seed: int,
    mixup: float = 0.0,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Batch]:
    """One epoch of random crops in random order, the same for the same seed; process `rank` of `world` gets its rows of every batch."""
    for crops in draw_crops(examples, cut, size, seed=seed, mixup=mixup, rank=rank, world=world):
        yield read_crops(examples, cut, crops)


def draw_crops(
    examples: Sequence[Example],
    cut: SegmentRecipe,
    size: int,
    *,
    seed: int,
    mixup: float = 0.0,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Crops]:
    """What `batches` reads, before anything is read."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(examples))
    segments = cut.segmentation.count(cut.crop_frames)
    chances = random.random(len(examples))
    firsts = [int(c * (e.segments - segments + 1)) for c, e in zip(chances, examples, strict=True)]

    def crops(chosen: NDArray[np.int64]) -> Crops:
        return Crops(tuple(map(int, chosen)), tuple(firsts[i] for i in chosen))

    for start in range(0, len(order) - len(order) % size if len(order) >= size else len(order), size):
        rows = order[start : start + size]
        each = len(rows) // world
        mine = slice(rank * each, (rank + 1) * each)
        if each < FEWEST_ROWS:
            continue
        if mixup:
            others, share = random.permutation(rows), random.beta(mixup, mixup, len(rows))
            part = np.maximum(share, 1 - share)[mine].astype(np.float32)
            yield replace(crops(rows[mine]), partner=crops(others[mine]), share=part)
        else:
            yield crops(rows[mine])


def read_crops(examples: Sequence[Example], cut: SegmentRecipe, crops: Crops) -> Batch:
    """The batch that was drawn."""
    frames = np.full((len(crops.examples), cut.crop_frames, MELS), SILENCE, np.float32)
    labels, seen = [], []
    for row, (index, first) in enumerate(zip(crops.examples, crops.firsts, strict=True)):
        example = examples[index]
        piece, video = example.crop(first, cut)
        frames[row, : len(piece)] = piece
        labels.append(example.label)
        if video is not None:
            seen.append(video)
    return Batch(
        torch.from_numpy(frames).transpose(1, 2)[:, :, None],
        torch.tensor(labels),
        crops.examples,
        crops.firsts,
        as_seen(torch.stack(seen)) if seen else None,
        None if crops.partner is None else read_crops(examples, cut, crops.partner),
        None if crops.share is None else torch.from_numpy(crops.share),
    )


def read_ahead(examples: Sequence[Example], cut: SegmentRecipe, crops: Iterable[Crops]) -> Iterator[Batch]:
    """Every batch that was drawn. Examples on disk say how many processes read them ahead (`readers`)."""
    readers = getattr(examples, "readers", 0)
    if not readers:
        for chosen in crops:
            yield read_crops(examples, cut, chosen)
        return
    reading = _Reading(examples, cut, list(crops))
    own = torch.Generator()  # the loader draws a seed: not from the numbers that dropout draws from
    for found in DataLoader(reading, batch_size=None, num_workers=readers, collate_fn=_as_it_is, generator=own):
        if isinstance(found, InputError):
            raise found
        yield found


class _Reading(Dataset["Batch | InputError"]):
    """Batches by number. An error is handed over as it is: raised, it would come with a worker's traceback."""

    def __init__(self, examples: Sequence[Example], cut: SegmentRecipe, crops: Sequence[Crops]) -> None:
        self.examples = examples
        self.cut = cut
        self.crops = crops

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, step: int) -> Batch | InputError:
        try:
            return read_crops(self.examples, self.cut, self.crops[step])
        except InputError as error:
            return error


def _as_it_is(item: Any) -> Any:
    return item
