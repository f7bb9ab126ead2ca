"""Sound files -> float32 [T] at 16 kHz mono in [-1, 1]. Any rate, any number of channels, whole or as a stream.

Channels are averaged. A stream gives what the file holds; `read_audio`, which training and evaluation hear, also takes out a
constant that was added to the signal, as the `Segmenter` does of every stream.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from edge_lupi.disk import kind_of
from edge_lupi.errors import InputError
from edge_lupi.frames import HOP_SAMPLES, SAMPLE_RATE_HZ
from edge_lupi.sound.decode import Notice, blocks_of_container, blocks_of_sound
from edge_lupi.sound.offset import without_offset
from edge_lupi.sound.resampler import Resampler, resampler

__all__ = [
    "LONGEST_SECONDS",
    "SHORTEST_SAMPLES",
    "Resampler",
    "check_samples",
    "from_pcm",
    "read_audio",
    "resampler",
    "speech_span",
    "stream_audio",
    "to_pcm",
]

Samples = NDArray[np.float32]

SHORTEST_SAMPLES = SAMPLE_RATE_HZ // 10  # 0.1 s; less holds no syllable
LONGEST_SECONDS = 7200.0  # for read_audio: 460 MB of float32
LEVEL_FRAMES = 5  # of 10 ms, over which speech_span takes the level
AFTER_FRAMES = 30  # that speech_span leaves behind the speech
LOUDEST = 16.0  # float files may pass 1.0 a little and are clipped; 24 dB above is another scale
BLOCK_SECONDS = 1.0
CONTAINERS = frozenset(
    {".3gp", ".aac", ".avi", ".flv", ".m4a", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"}
)


def read_audio(
    path: str | os.PathLike[str], *, start_seconds: float = 0.0, end_seconds: float | None = None
) -> Samples:
    """The sound of a file, or of [start, end) of it, as float32 [T] at 16 kHz; at least 0.1 s and at most two hours.

    An end beyond the end of the file is the end of the file. A header that does not agree with its file is refused.
    """
    _check_window(start_seconds, end_seconds)
    parts: list[Samples] = []
    total = 0
    for part in _converted(Path(path), str(path), BLOCK_SECONDS, start_seconds, end_seconds):
        parts.append(part)
        total += len(part)
        if total > LONGEST_SECONDS * SAMPLE_RATE_HZ:
            raise InputError(
                f"expected at most {LONGEST_SECONDS:.0f} s of sound at once, got more in {path}: cut the file or give start and end"
            )
    return without_offset(np.concatenate(parts))


def stream_audio(
    source: str | os.PathLike[str] | BinaryIO,
    block_seconds: float = 0.1,
    channels: Sequence[int] | None = None,
    *,
    name: str = "",
    notice: Notice | None = None,
) -> Iterator[Samples]:
    """The sound of a file of any length, block by block, float32 [about block_seconds * 16000] each; memory stays bounded.

    The blocks joined are what `read_audio` gives, with the offset. With `channels`, counted from 0, these side by side:
    [n, len(channels)]. Also of an open, seekable file, which `name` names. `notice` is told of a header that does not agree
    with its file, which without it is refused.
    """
    if not 0 < block_seconds <= 60:
        raise InputError(f"expected a block of more than 0 and at most 60 s, got {block_seconds} s")
    if isinstance(source, (str, os.PathLike)):
        source = Path(source)
    return _converted(source, name or str(source), block_seconds, 0.0, None, channels, notice)


def _converted(
    source: Path | BinaryIO,
    name: str,
    block_seconds: float,
    start_seconds: float,
    end_seconds: float | None,
    pick: Sequence[int] | None = None,
    notice: Notice | None = None,
) -> Iterator[Samples]:
    """Blocks at 16 kHz mono of a file's window; refuses what is not sound, is not finite or is too short."""
    if isinstance(source, Path):
        _check_file(source)
    if isinstance(source, Path) and source.suffix.lower() in CONTAINERS:
        blocks = blocks_of_container(source, start_seconds, end_seconds)
    else:
        blocks = blocks_of_sound(source, name, block_seconds, start_seconds, end_seconds, notice)
    convert: Resampler | None = None
    total = 0
    for rate_hz, block in blocks:
        convert = convert or _resampler_of(name, rate_hz, block.shape[1], pick, notice)
        if rate_hz != convert.rate_hz:
            raise InputError(
                f"expected one sample rate in {name}, got {convert.rate_hz} Hz and then {rate_hz} Hz: convert it to WAV"
            )
        check_samples(name, block)
        part = convert.push(block)
        total += len(part)
        if len(part):
            yield part
    rest = convert.flush() if convert else np.zeros(0, np.float32)
    if total + len(rest) < SHORTEST_SAMPLES:
        raise InputError(
            f"expected at least {SHORTEST_SAMPLES / SAMPLE_RATE_HZ} s of sound in {name}, got {(total + len(rest)) / SAMPLE_RATE_HZ:.4f} s: give a longer recording"
        )
    if len(rest):
        yield rest


def _resampler_of(
    name: str, rate_hz: int, channels: int, pick: Sequence[int] | None, notice: Notice | None
) -> Resampler:
    try:
        return Resampler(rate_hz, channels, pick, notice)
    except InputError as error:
        raise InputError(f"{name}: {error}", options=error.options) from error


def _check_file(path: Path) -> None:
    kind = {"file": "", "folder": "a folder", "nothing": "no such file", "other": "not a plain file"}[kind_of(path)]
    if not kind:
        try:
            with path.open("rb") as file:
                kind = "" if file.read(1) else "an empty file"
        except OSError as error:
            kind = error.strerror or type(error).__name__
    if kind:
        cure = "name the files in it" if kind == "a folder" else "check the path"
        raise InputError(f"expected a sound file at {path}, got {kind}: {cure}")


def _check_window(start_seconds: float, end_seconds: float | None) -> None:
    ends = float("inf") if end_seconds is None else end_seconds
    if not 0 <= start_seconds < ends or start_seconds == float("inf") or end_seconds == float("inf"):
        raise InputError(
            f"expected a start of 0 s or more and an end after it, got {start_seconds} s to {end_seconds} s"
        )


def check_samples(name: str, block: Samples) -> None:
    """Raises InputError where samples are no numbers, or on another scale."""
    if not np.isfinite(block).all():
        raise InputError(f"expected finite samples in {name}, got NaN or infinity: repair or leave out the file")
    peak = float(np.abs(block).max(initial=0))
    if peak > LOUDEST:
        raise InputError(f"expected samples in [-1, 1] in {name}, got {peak:g}: scale the file")


def to_pcm(samples: Samples) -> NDArray[np.int16]:
    """float32 in [-1, 1] -> int16."""
    return np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)


def from_pcm(samples: NDArray[np.int16]) -> Samples:
    """int16 -> float32 in [-1, 1]."""
    result: Samples = samples.astype(np.float32) / np.float32(32768)
    return result


def speech_span(samples: Samples, below_db: float) -> tuple[int, int]:
    """Where sound [T] begins and ends that is at most so many dB below the loudest 50 ms: samples [first, last).

    With 50 ms before and 300 ms after, so that the last segment of a whole number of hops still holds the end of it.
    """
    frames = len(samples) // HOP_SAMPLES
    if frames < LEVEL_FRAMES:
        return 0, len(samples)
    power = np.square(samples[: frames * HOP_SAMPLES].reshape(frames, HOP_SAMPLES), dtype=np.float64).mean(1)
    level = np.convolve(power, np.ones(LEVEL_FRAMES) / LEVEL_FRAMES, "same")
    loud = np.flatnonzero(level >= level.max() * 10 ** (-below_db / 10))
    first, last = max(0, loud[0] - LEVEL_FRAMES), min(frames, loud[-1] + 1 + AFTER_FRAMES)
    return int(first) * HOP_SAMPLES, len(samples) if last == frames else int(last) * HOP_SAMPLES
