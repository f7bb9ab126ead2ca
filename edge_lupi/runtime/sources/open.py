"""A source of sound by its name: `mic`, `-` for standard input, or sound files. Each gives Blocks of float32 [n] at 16 kHz mono.

with open_source("mic") as source:
    for block in source: ...
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_lupi.errors import InputError
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.runtime.sources.files import SoundFile
from edge_lupi.runtime.sources.microphone import Microphone
from edge_lupi.runtime.sources.several import Several
from edge_lupi.runtime.sources.source import Source
from edge_lupi.runtime.sources.stdin import StdinSource

__all__ = ["open_source"]


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
        got = f"{doubled[0]} again: leave one out" if doubled else "none: name one"
        raise InputError(f"expected each input once, got {got}", options=("input",))
    if device is not None and "mic" not in names:
        raise InputError(
            f"expected a device together with the input mic, got the input {names[0]}: leave one of them out",
            options=("device", "input"),
        )
    if channels is not None and "-" in names:
        raise InputError(
            "expected channels of a microphone or file, got standard input, which is mono: leave them out",
            options=("channels",),
        )
    if channels is not None and (not channels or len(set(channels)) < len(channels) or min(channels) < 0):
        got = ", ".join(map(str, channels)) or "none"
        raise InputError(f"expected channels as in 0,1,2, each once, got {got}", options=("channels",))
