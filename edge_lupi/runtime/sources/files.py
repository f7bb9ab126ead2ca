"""Sound files of any rate -> Blocks of float32 [n] at 16 kHz mono, as fast as they are read, or paced as from a microphone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.sources.source import Source, blocks_of, say
from edge_lupi.sound.audio import stream_audio

__all__ = ["SoundFile"]

BLOCK_SECONDS = 0.1


class SoundFile(Source):
    """A sound file; `paced` gives the blocks when they would have come from a microphone.

    With `channels`, counted from 0, each of these is a stream of its own; else their mean is the only one.
    """

    def __init__(self, path: str | Path, paced: bool = False, channels: Sequence[int] | None = None) -> None:
        super().__init__()
        self._path = path
        self.goes_on = paced
        self._channels = channels

    @property
    def title(self) -> str:
        """What it is, in words for people."""
        return str(self._path)

    def __iter__(self) -> Iterator[Block]:
        began, samples = time.perf_counter(), 0
        for block in stream_audio(self._path, BLOCK_SECONDS, self._channels, notice=say):
            samples += len(block)
            if self.goes_on:
                time.sleep(max(0.0, began + samples / SAMPLE_RATE_HZ - time.perf_counter()))
            if self._stopped:
                return
            yield from blocks_of(block, self._channels)
