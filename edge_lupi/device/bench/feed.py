"""Sound for a measurement, hop by hop: samples per hop in, for each hop its Blocks of a tenth of a second out, without end."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.sources.source import say
from edge_lupi.sound.audio import stream_audio

__all__ = ["Hops", "noise", "noise_hops", "recorded_hops"]

BLOCK_SECONDS = 0.1  # as `listen` reads files
NOISE_RMS = 0.05  # loud enough that a gate looks at all of it
Hops = Iterator[Iterator[Block]]


def noise(samples: int, seed: int = 0) -> NDArray[np.float32]:
    """White noise float32 [samples]; the same seed gives the same noise."""
    return _noise(np.random.default_rng(seed), samples)


def noise_hops(hop_samples: int) -> Hops:
    """Blocks of noise, which are there before anybody asks."""
    random, parts = np.random.default_rng(0), ceil(hop_samples / SAMPLE_RATE_HZ / BLOCK_SECONDS)
    while True:
        yield iter([Block(part) for part in np.array_split(_noise(random, hop_samples), parts)])


def recorded_hops(path: Path, hop_samples: int) -> Hops:
    """Blocks of a sound file as they are read, from its beginning again where it ends; each hop's until it is full."""
    blocks, taken, due = _read_again(path), 0, 0

    def until_due() -> Iterator[Block]:
        nonlocal taken
        while taken < due:
            block = next(blocks)
            taken += len(block.samples)
            yield block

    while True:
        due += hop_samples
        yield until_due()


def _read_again(path: Path) -> Iterator[Block]:
    for turn in count():  # what there is to say about a file is said once
        for samples in stream_audio(path, BLOCK_SECONDS, notice=_nothing if turn else say):
            yield Block(samples)


def _noise(random: np.random.Generator, samples: int) -> NDArray[np.float32]:
    return (random.standard_normal(samples) * NOISE_RMS).astype(np.float32)


def _nothing(sentence: str) -> None:
    """Said before."""
