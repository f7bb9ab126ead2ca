"""Sound files -> (rate_hz, float32 [n, channels]) for every block of a window. WAV by ourselves, the others by libraries.

FLAC, OGG, MP3 and the like are read with soundfile; AAC (`.m4a`) and the sound of a video (`.mp4`, `.mpg` ...) with PyAV, of
the extra `media`. Both are imported when first used. `notice` is told where a header and its file do not agree; without
one that is an error.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_lupi.errors import InputError, MissingExtra
from edge_lupi.sound.headers import Doubt, Part, wav_parts, whole_files
from edge_lupi.sound.kinds import HEAD_BYTES, sound_kind
from edge_lupi.sound.resampler import MOST_CHANNELS

__all__ = ["Notice", "blocks_of_container", "blocks_of_sound", "reason"]

Samples = NDArray[np.float32]
Blocks = Iterator[tuple[int, Samples]]
Notice = Callable[[str], None]

MOST_BLOCK_VALUES = 1 << 22  # 16 MB of float32
READ_SECONDS = 2.0  # at once from the library, which looks up its place in the file at every read
CLOCK_SECONDS = 0.04
LONGEST_HOLE_SECONDS = 3600
LEAST_READ_SHARE = 0.98  # of the frames that a library announces; of an MP3 it may only guess them


def blocks_of_sound(
    source: Path | BinaryIO,
    name: str,
    block_seconds: float,
    start_seconds: float,
    end_seconds: float | None,
    notice: Notice | None,
) -> Blocks:
    """Of a file, or of one that is open and seekable."""
    window = start_seconds, end_seconds
    with _opened(source) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        kind = sound_kind(file.read(HEAD_BYTES))
        parts, doubt = wav_parts(file, size, name) if kind == "WAV" else ([], None)
        if parts:
            _tell(doubt, name, notice)
            sounds = (_OfWav(file, part) for part in parts)
            yield from _window(name, block_seconds, window, sounds, notice)
            return
        files, doubt = whole_files(file, size, kind)
        _tell(doubt, name, notice)
        yield from _of_library(file, name, files, block_seconds, window, notice)


def _opened(source: Path | BinaryIO) -> AbstractContextManager[BinaryIO]:
    return source.open("rb") if isinstance(source, Path) else nullcontext(source)


def _tell(doubt: Doubt | None, name: str, notice: Notice | None) -> None:
    if doubt and notice is None:
        raise InputError(doubt.refused(name))
    if doubt and notice:
        notice(doubt.told(name))


class _Frames(Protocol):
    """Something with sound in it: so many frames, read from where `go_to` went."""

    rate_hz: int
    channels: int
    frames: int

    def go_to(self, frame: int) -> None: ...
    def read(self, most: int) -> Samples: ...


class _OfWav:
    """The samples of one WAV."""

    def __init__(self, file: BinaryIO, part: Part) -> None:
        self.rate_hz, self.channels = part.wav.rate_hz, part.wav.channels
        self.frames = part.size // part.wav.frame_bytes
        self._file, self._part = file, part
        self.go_to(0)

    def go_to(self, frame: int) -> None:
        self._file.seek(self._part.start + frame * self._part.wav.frame_bytes)

    def read(self, most: int) -> Samples:
        data = self._file.read(most * self._part.wav.frame_bytes)
        return self._part.wav.decoded(data[: len(data) // self._part.wav.frame_bytes * self._part.wav.frame_bytes])


class _OfLibrary:
    """The sound that libsndfile finds in a stretch of a file."""

    def __init__(self, file: BinaryIO, first: int, last: int) -> None:
        import soundfile

        self._sound = soundfile.SoundFile(_Stretch(file, first, last))
        self.rate_hz, self.channels, self.frames = self._sound.samplerate, self._sound.channels, self._sound.frames
        self._most = min(round(READ_SECONDS * self.rate_hz), MOST_BLOCK_VALUES // max(1, self.channels))
        self._ahead: Samples = np.zeros((0, self.channels), np.float32)

    def go_to(self, frame: int) -> None:
        self._ahead = self._ahead[:0]
        if frame:
            self._sound.seek(frame)

    def read(self, most: int) -> Samples:
        if not len(self._ahead):
            self._ahead = self._sound.read(max(most, self._most), dtype="float32", always_2d=True)
        samples, self._ahead = self._ahead[:most], self._ahead[most:]
        return samples


def _window(
    name: str, block_seconds: float, window: tuple[float, float | None], parts: Iterable[_Frames], notice: Notice | None
) -> Blocks:
    """The blocks of [start, end) of parts that follow one another."""
    passed, given = 0, False
    rate_hz = 1
    for part in parts:
        rate_hz = part.rate_hz
        if part.channels > MOST_CHANNELS:
            raise InputError(
                f"expected at most {MOST_CHANNELS} channels in {name}, got {part.channels}: take some of them out, as with sox remix"
            )
        first = max(0, round(window[0] * rate_hz) - passed)
        last = part.frames if window[1] is None else min(part.frames, round(window[1] * rate_hz) - passed)
        size = max(1, min(round(block_seconds * rate_hz), MOST_BLOCK_VALUES // part.channels))
        passed += part.frames
        if first >= last:
            continue
        part.go_to(first)
        at = first
        while at < last and len(block := part.read(min(size, last - at))):
            at += len(block)
            given = True
            yield rate_hz, block
        if at < first + LEAST_READ_SHARE * (last - first):
            _tell(Doubt(f"{last / rate_hz:.1f} s of sound, as the header says,", f"{at / rate_hz:.1f} s"), name, notice)
    if not given and window[0]:
        raise InputError(
            f"expected a start before the end of {name} ({passed / max(rate_hz, 1):.2f} s), got {window[0]} s"
        )


def _of_library(
    file: BinaryIO,
    name: str,
    files: list[tuple[int, int]],
    block_seconds: float,
    window: tuple[float, float | None],
    notice: Notice | None,
) -> Blocks:
    import soundfile

    try:
        yield from _window(name, block_seconds, window, (_OfLibrary(file, *ends) for ends in files), notice)
    except (soundfile.SoundFileError, TypeError, ValueError) as error:
        raise InputError(
            f"expected sound (WAV, FLAC, OGG, MP3 ...) in {name}, got something else ({reason(error)}): convert it to WAV"
        ) from error


class _Stretch(io.RawIOBase):
    """Bytes [first, last) of an open file, as a file of their own."""

    def __init__(self, file: BinaryIO, first: int, last: int) -> None:
        self._file, self._first, self._size, self._at = file, first, last - first, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._first + self._at)
        data = self._file.read(max(0, min(len(buffer), self._size - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def blocks_of_container(path: Path, start_seconds: float, end_seconds: float | None) -> Blocks:
    """Of the first sound track of a video; a block is a codec's packet, some 20 to 60 ms.

    Time is the file's own, in which its pictures and its sound may begin apart (see `video`): where the sound begins later
    there is silence, and what lies before the pictures is left out.
    """
    try:
        import av
    except ImportError as error:
        raise MissingExtra(
            f"on a {path.suffix} file", "PyAV", "media", instead="convert the file to WAV or FLAC"
        ) from error
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise InputError(f"expected a sound track in {path}, got a file without one: give a file with sound")
            yield from _decoded(container, start_seconds, end_seconds)
    except (av.FFmpegError, ValueError) as error:
        raise InputError(
            f"expected a video or sound file in {path}, got something else ({reason(error)}): convert its sound to WAV"
        ) from error


def _decoded(container: Any, start_seconds: float, end_seconds: float | None) -> Blocks:
    """Position 0 is where the pictures begin, or the sound where there are none."""
    import av

    track, planar = container.streams.audio[0], av.AudioResampler(format="fltp")
    zero_seconds = _begins(container.streams.video[0] if container.streams.video else track)
    position: int | None = None
    for frame in container.decode(track):
        rate_hz = frame.sample_rate
        due = (
            round(((frame.time or 0.0) - zero_seconds) * rate_hz)
            if frame.time is not None or position is None
            else position
        )
        position = min(0, due) if position is None else position
        start = round(start_seconds * rate_hz)
        end = None if end_seconds is None else round(end_seconds * rate_hz)
        pieces = [
            *_silence(due - position, rate_hz, len(track.layout.channels)),
            *(f.to_ndarray().T for f in planar.resample(frame)),
        ]
        for block in pieces:
            begin = max(0, start - position)
            inside = block[
                begin if position >= 0 else max(begin, -position) : None if end is None else max(0, end - position)
            ]
            position += len(block)
            if len(inside):
                yield rate_hz, inside
        if end is not None and position >= end:
            return


def _begins(track: Any) -> float:
    return 0.0 if track.start_time is None else float(track.start_time * track.time_base)


def _silence(missing: int, rate_hz: int, channels: int) -> Iterator[Samples]:
    """What a track leaves out, in blocks of a second; times are rounded to the container's clock."""
    if missing > LONGEST_HOLE_SECONDS * rate_hz:
        raise InputError(
            f"expected sound without a hole of more than {LONGEST_HOLE_SECONDS} s, got {missing / rate_hz:.0f} s: cut the file"
        )
    if missing >= CLOCK_SECONDS * rate_hz:
        for first in range(0, missing, rate_hz):
            yield np.zeros((min(rate_hz, missing - first), channels), np.float32)


def reason(error: BaseException) -> str:
    """The first line of a library's message, without the path it repeats."""
    text = str(getattr(error, "error_string", "") or getattr(error, "strerror", "") or error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
