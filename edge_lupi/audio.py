"""Sound files -> float32 [T] at 16 kHz mono in [-1, 1]. Any rate, any number of channels, whole or as a stream.

WAV, FLAC, OGG, MP3 and the like are read with soundfile; the sound of a video (`.mp4`, `.mpg` ...) with PyAV, which
only the training install has. Channels are averaged. soundfile and soxr are imported when first used: 60 ms each.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lupi.errors import InputError, MissingExtra
from edge_lupi.frames import HOP_SAMPLES, SAMPLE_RATE_HZ

__all__ = [
    "LONGEST_SECONDS",
    "SHORTEST_SAMPLES",
    "Resampler",
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
RATES_HZ = range(4_000, 768_001)
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

    An end beyond the end of the file is the end of the file.
    """
    _check_window(start_seconds, end_seconds)
    parts: list[Samples] = []
    total = 0
    for part in _converted(Path(path), BLOCK_SECONDS, start_seconds, end_seconds):
        parts.append(part)
        total += len(part)
        if total > LONGEST_SECONDS * SAMPLE_RATE_HZ:
            raise InputError(
                f"expected at most {LONGEST_SECONDS:.0f} s of sound at once, got more in {path}: cut the file or give start and end"
            )
    return np.concatenate(parts)


def stream_audio(
    path: str | os.PathLike[str], block_seconds: float = 0.1, channels: Sequence[int] | None = None
) -> Iterator[Samples]:
    """The sound of a file of any length, block by block, float32 [about block_seconds * 16000] each; memory stays bounded.

    The blocks joined are what `read_audio` gives. With `channels`, counted from 0, these side by side: [n, len(channels)].
    """
    if not 0 < block_seconds <= 60:
        raise InputError(f"expected a block of more than 0 and at most 60 s, got {block_seconds} s")
    return _converted(Path(path), block_seconds, 0.0, None, channels)


class Resampler:
    """Blocks float32 [n, channels] at one rate -> float32 [m] at 16 kHz, the mean of the channels, with the filter's state
    kept between blocks. With `pick`, these channels side by side instead: [m, len(pick)].
    """

    def __init__(self, rate_hz: int, channels: int, pick: Sequence[int] | None = None) -> None:
        if not RATES_HZ[0] <= rate_hz <= RATES_HZ[-1]:
            raise InputError(
                f"expected a sample rate of {RATES_HZ[0]} to {RATES_HZ[-1]} Hz, got {rate_hz} Hz: convert the sound first"
            )
        if channels < 1:
            raise InputError(f"expected at least one channel, got {channels}")
        if pick is not None and not (pick and all(0 <= channel < channels for channel in pick)):
            raise InputError(f"expected channels of 0 to {channels - 1}, got {', '.join(map(str, pick)) or 'none'}")
        self.rate_hz = rate_hz
        self.channels = channels
        self._pick = None if pick is None else list(pick)
        self._stream: Any = None
        if rate_hz != SAMPLE_RATE_HZ:
            import soxr

            width = len(pick) if pick else 1
            self._stream = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, width, dtype="float32", quality="HQ")

    def push(self, block: NDArray[np.float32]) -> Samples:
        """One block float32 [n, channels] (or [n] when mono) -> the samples that are ready, float32 [m]; m may be 0."""
        block = block[:, None] if block.ndim == 1 else block
        if block.ndim != 2 or block.shape[1] != self.channels:
            raise InputError(f"expected blocks of {self.channels} channels, got an array of shape {block.shape}")
        if self._pick is not None:
            kept = block[:, self._pick]
        else:
            kept = block[:, 0] if self.channels == 1 else block.mean(axis=1)
        return self._resample(np.ascontiguousarray(kept, np.float32), last=False)

    def flush(self) -> Samples:
        """What the filter still holds after the last block, float32 [m] (or [m, picked]); the resampler is used up."""
        shape = (0,) if self._pick is None else (0, len(self._pick))
        return self._resample(np.zeros(shape, np.float32), last=True)

    def _resample(self, samples: Samples, *, last: bool) -> Samples:
        out = samples if self._stream is None else self._stream.resample_chunk(samples, last=last)
        return np.clip(out, -1, 1).astype(np.float32, copy=False)


def resampler(rate_hz: int, channels: int, pick: Sequence[int] | None = None) -> Resampler:
    """A resampler for a stream of that rate and number of channels."""
    return Resampler(rate_hz, channels, pick)


def _converted(
    path: Path,
    block_seconds: float,
    start_seconds: float,
    end_seconds: float | None,
    pick: Sequence[int] | None = None,
) -> Iterator[Samples]:
    """Blocks at 16 kHz mono of a file's window; refuses what is not sound, is not finite or is too short."""
    _check_file(path)
    read = _blocks_with_av if path.suffix.lower() in CONTAINERS else _blocks_with_soundfile
    convert: Resampler | None = None
    total = 0
    for rate_hz, block in read(path, block_seconds, start_seconds, end_seconds):
        convert = convert or _resampler_of(path, rate_hz, block.shape[1], pick)
        if rate_hz != convert.rate_hz:
            raise InputError(
                f"expected one sample rate in {path}, got {convert.rate_hz} Hz and then {rate_hz} Hz: convert it to WAV"
            )
        _check_samples(path, block)
        part = convert.push(block)
        total += len(part)
        if len(part):
            yield part
    rest = convert.flush() if convert else np.zeros(0, np.float32)
    if total + len(rest) < SHORTEST_SAMPLES:
        raise InputError(
            f"expected at least {SHORTEST_SAMPLES / SAMPLE_RATE_HZ} s of sound in {path}, got {(total + len(rest)) / SAMPLE_RATE_HZ:.4f} s: give a longer recording"
        )
    if len(rest):
        yield rest


def _blocks_with_soundfile(
    path: Path, block_seconds: float, start_seconds: float, end_seconds: float | None
) -> Iterator[tuple[int, Samples]]:
    """(rate_hz, float32 [n, channels]) for every block of the window."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            rate_hz = file.samplerate
            start = round(start_seconds * rate_hz)
            if start >= max(file.frames, 1):
                raise InputError(
                    f"expected a start before the end of {path} ({file.frames / max(rate_hz, 1):.2f} s), got {start_seconds} s"
                )
            if start:
                file.seek(start)
            left = -1 if end_seconds is None else round(end_seconds * rate_hz) - start
            size = max(1, round(block_seconds * rate_hz))
            while left:
                block = file.read(size if left < 0 else min(size, left), dtype="float32", always_2d=True)
                if not len(block):
                    return
                left = left if left < 0 else left - len(block)
                yield rate_hz, block
    except (soundfile.SoundFileError, TypeError, ValueError) as error:  # TypeError: a file named .raw
        raise InputError(
            f"expected sound (WAV, FLAC, OGG, MP3 ...) in {path}, got something else ({_reason(error)}): convert it to WAV"
        ) from error


def _blocks_with_av(
    path: Path, block_seconds: float, start_seconds: float, end_seconds: float | None
) -> Iterator[tuple[int, Samples]]:
    """The same for the first sound track of a container; a block is a codec's packet, some 20 to 60 ms."""
    try:
        import av
    except ImportError as error:
        raise MissingExtra(f"on a {path.suffix} file", "PyAV", "train") from error
    position = 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise InputError(f"expected a sound track in {path}, got a file without one: give a file with sound")
            planar = av.AudioResampler(format="fltp")
            for decoded in container.decode(audio=0):
                rate_hz = decoded.sample_rate
                start = round(start_seconds * rate_hz)
                end = None if end_seconds is None else round(end_seconds * rate_hz)
                for frame in planar.resample(decoded):
                    block = frame.to_ndarray().T
                    inside = block[max(0, start - position) : None if end is None else max(0, end - position)]
                    position += len(block)
                    if len(inside):
                        yield rate_hz, inside
                if end is not None and position >= end:
                    return
    except (av.FFmpegError, ValueError) as error:
        raise InputError(
            f"expected a video or sound file in {path}, got something else ({_reason(error)}): convert its sound to WAV"
        ) from error


def _resampler_of(path: Path, rate_hz: int, channels: int, pick: Sequence[int] | None) -> Resampler:
    try:
        return Resampler(rate_hz, channels, pick)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _check_file(path: Path) -> None:
    try:
        kind = (
            "a folder"
            if path.is_dir()
            else "no such file"
            if not path.exists()
            else "not a plain file"
            if not path.is_file()
            else ""
        )
        if not kind:
            with path.open("rb") as file:
                kind = "" if file.read(1) else "an empty file"
    except (OSError, ValueError) as error:
        kind = _reason(error)
    if kind:
        raise InputError(f"expected a sound file at {path}, got {kind}: check the path")


def _check_window(start_seconds: float, end_seconds: float | None) -> None:
    ends = float("inf") if end_seconds is None else end_seconds
    if not 0 <= start_seconds < ends or start_seconds == float("inf") or end_seconds == float("inf"):
        raise InputError(
            f"expected a start of 0 s or more and an end after it, got {start_seconds} s to {end_seconds} s"
        )


def _check_samples(path: Path, block: Samples) -> None:
    if not np.isfinite(block).all():
        raise InputError(f"expected finite samples in {path}, got NaN or infinity: repair or leave out the file")
    peak = float(np.abs(block).max(initial=0))
    if peak > LOUDEST:
        raise InputError(f"expected samples in [-1, 1] in {path}, got {peak:g}: scale the file")


def _reason(error: BaseException) -> str:
    """The first line of a library's message, without the path it repeats."""
    text = str(getattr(error, "error_string", "") or getattr(error, "strerror", "") or error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__


def to_pcm(samples: Samples) -> NDArray[np.int16]:
    """float32 in [-1, 1] -> int16."""
    return np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)


def from_pcm(samples: NDArray[np.int16]) -> Samples:
    """int16 -> float32 in [-1, 1]."""
    return samples.astype(np.float32) / np.float32(32768)


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
