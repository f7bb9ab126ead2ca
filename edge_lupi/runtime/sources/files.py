"""Where sound comes from, by name: files, standard input, microphones. Each gives Blocks of float32 [n] at 16 kHz mono.

with open_source("mic") as source:
    for block in source: ...
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge_lupi.errors import InputError
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.runtime.sources.microphone import Microphone, input_devices
from edge_lupi.runtime.sources.ring import Block
from edge_lupi.runtime.sources.several import Several
from edge_lupi.runtime.sources.source import Source, blocks_of, say, stop_on_signals
from edge_lupi.runtime.sources.stdin import StdinSource
from edge_lupi.sound.audio import stream_audio

__all__ = [
    "Microphone",
    "Several",
    "SoundFile",
    "Source",
    "StdinSource",
    "input_devices",
    "open_source",
    "stop_on_signals",
]

BLOCK_SECONDS = 0.1


class SoundFile(Source):
    """A sound file; `paced` gives the blocks when they would have come from a microphone.

    With `channels`, counted from 0, each of these is a stream of its own; else their mean is the only one.
    """

    def __init__(self, path: str | Path, paced: bool = False, channels: Sequence[int] | None = None) -> None:
        super().__init__()
        self._path = path
        self._paced = paced
        self._channels = channels

    def __iter__(self) -> Iterator[Block]:
        began, samples = time.perf_counter(), 0
        for block in stream_audio(self._path, BLOCK_SECONDS, self._channels, notice=say):
            samples += len(block)
            if self._paced:
                time.sleep(max(0.0, began + samples / SAMPLE_RATE_HZ - time.perf_counter()))
            if self._stopped:
                return
            yield from blocks_of(block, self._channels)


def open_source(
    *names: str,
    device: str | None = None,
    paced: bool = False,
    rate_hz: int = SAMPLE_RATE_HZ,
    channels: Sequence[int] | None = None,
    retry: bool = True,
) -> Source:
    """The source of these names: `mic`, `-` for standard input, or else sound files; several become one with streams.

    `device` is a microphone's number or name; `channels` of a microphone or file become streams of their own.
    """
    _check_names(names, device, channels)
    sources = [_source(name, device, paced, rate_hz, channels, retry) for name in names]
    if len(sources) == 1:
        return sources[0]
    return Several(dict(zip(names, sources, strict=True)))


def _source(
    name: str, device: str | None, paced: bool, rate_hz: int, channels: Sequence[int] | None, retry: bool
) -> Source:
    if name == "mic":
        return Microphone(int(device) if device and device.isdecimal() else device, channels=channels, retry=retry)
    return StdinSource(rate_hz) if name == "-" else SoundFile(name, paced, channels)


def _check_names(names: Sequence[str], device: str | None, channels: Sequence[int] | None) -> None:
    doubled = [name for index, name in enumerate(names) if name in names[:index]]
    if not names or doubled:
        raise InputError(f"expected each --input once, got {doubled[0] if doubled else 'none'} again: leave one out")
    if device is not None and "mic" not in names:
        raise InputError(f"expected --device together with --input mic, got --input {names[0]}: leave one of them out")
    if channels is not None and "-" in names:
        raise InputError("expected --channels of a microphone or file, got standard input, which is mono")
    if channels is not None and (not channels or len(set(channels)) < len(channels) or min(channels) < 0):
        raise InputError(f"expected --channels as in 0,1,2, each once, got {', '.join(map(str, channels)) or 'none'}")
