"""A microphone through PortAudio -> Blocks of float32 [n] at 16 kHz mono, for as long as the device lives and after.

PortAudio's callback hands each block to a ring and counts what was lost, nothing more. A device that goes away is said
once, tried again and again, and said once more when it is back; the stream's time goes on by the wall clock, and the
hole is counted and marked like any other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import ModuleType, TracebackType
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from edge_lupi.errors import DeviceError
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.sources.native_lines import NativeLines
from edge_lupi.runtime.sources.ring import Ring
from edge_lupi.runtime.sources.source import POLL_SECONDS, Source, blocks_of, say
from edge_lupi.sound.resampler import Resampler, resampler

__all__ = ["Microphone", "input_devices"]

BLOCK_SECONDS = 0.02
RING_SECONDS = 10.0
SILENT_DEVICE_SECONDS = 1.0  # a working device is never quiet for so long: it gives blocks even in silence
START_SECONDS = 2.0  # the same before its first block
FIRST_RETRY_SECONDS = 0.25
LAST_RETRY_SECONDS = 1.5  # doubling up to this


class _Stream(Protocol):
    active: bool

    def start(self) -> None: ...
    def close(self) -> None: ...


class _Status(Protocol):
    input_overflow: bool


class Microphone(Source):
    """Opened at 16 kHz with as few channels as are needed, or as the device wants it, and then resampled.

    The mean of the channels is the stream; with `channels`, counted from 0, each of these is a stream of its own.
    Opened by `with`, or for the time of one iteration without it. With `retry=False` a lost device is an error.
    """

    live = goes_on = True

    def __init__(
        self, device: int | str | None = None, *, channels: Sequence[int] | None = None, retry: bool = True
    ) -> None:
        super().__init__()
        self._device = device
        self._pick = channels
        self._retry = retry
        self._stream: _Stream | None = None
        self._dropped = 0  # samples at 16 kHz that were lost
        self._heard_until = 0.0  # when the last block came
        self._away = False
        self._retry_seconds = FIRST_RETRY_SECONDS
        self._peak_fill_seconds = 0.0
        self._system_name = ""
        self.reconnections = 0
        self.rate_hz = SAMPLE_RATE_HZ
        self.channels = 1
        self.ring = Ring(round(RING_SECONDS * SAMPLE_RATE_HZ))

    @property
    def title(self) -> str:
        """Its name, as the system has it once it is open, and the rate that it is heard at."""
        return f"{self._name()} ({self._system_name}, {self.rate_hz} Hz)" if self._system_name else self._name()

    @property
    def peak_fill_seconds(self) -> float:
        """The most sound that ever waited in the ring."""
        return max(self._peak_fill_seconds, self.ring.peak_fill / self.rate_hz)

    def __enter__(self) -> Microphone:
        _LINES.start()
        try:
            self._open_device()
        except BaseException:
            _LINES.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_device()
        _LINES.stop()

    def __iter__(self) -> Iterator[Block]:
        if self._stream is not None:
            yield from self._blocks()
            return
        with self:
            yield from self._blocks()

    def _blocks(self) -> Iterator[Block]:
        self._heard_until = time.perf_counter()
        while not self._stopped:
            yield from self._until_lost()
            if not self._stopped:
                self._bring_back()

    def _until_lost(self) -> Iterator[Block]:
        """What one opened device gives."""
        convert, ring_lost = self._resampler(), 0
        quiet_since, patience_seconds = time.perf_counter(), START_SECONDS
        while not self._stopped:
            block = self.ring.read(POLL_SECONDS)
            if block is None:
                if self._is_dead() or time.perf_counter() - quiet_since > patience_seconds:
                    break
                continue
            quiet_since, patience_seconds = block.received_seconds, SILENT_DEVICE_SECONDS
            lost, ring_lost = block.dropped - ring_lost, block.dropped
            if block.gap:
                yield from self._of_stream(convert.flush(), self._heard_until)
                convert = self._resampler()
            reconnected = self._away
            away = self._back(block) if reconnected else 0
            self._dropped += away + round(lost * SAMPLE_RATE_HZ / self.rate_hz)
            self._heard_until = block.received_seconds
            samples = convert.push(block.samples)
            marks = {"gap": block.gap or reconnected, "more": block.more, "reconnected": reconnected}
            yield from self._of_stream(samples, block.received_seconds, **marks)
        yield from self._of_stream(convert.flush(), self._heard_until)

    def _of_stream(self, samples: NDArray[np.float32], received_seconds: float, **marks: bool) -> Iterator[Block]:
        counts = {"dropped": self._dropped, "peak_fill_seconds": self.peak_fill_seconds}
        return blocks_of(samples, self._pick, received_seconds, **counts, **marks)

    def _is_dead(self) -> bool:
        return self._stream is None or not self._stream.active

    def _back(self, block: Block) -> int:
        """The first block of a device that was away: how many samples at 16 kHz it was away for."""
        began = block.received_seconds - len(block.samples) / self.rate_hz
        seconds = max(0.0, began - self._heard_until)
        self._away, self._retry_seconds = False, FIRST_RETRY_SECONDS
        self.reconnections += 1
        say(f"{self._name()} is back: {seconds:.1f} s of sound are lost")
        return round(seconds * SAMPLE_RATE_HZ)

    def _bring_back(self) -> None:
        """Try to open the device until it can be opened; whether it gives anything is for the reader to see."""
        if not self._retry:
            raise DeviceError(f"{self._name()} gives nothing any more: was it unplugged? See edge-lupi devices")
        if not self._away:
            say(f"{self._name()} gives nothing any more: trying again until it does")
        self._away = True
        self._close_device()
        while not self._stopped:
            self._wait(self._retry_seconds)
            self._retry_seconds = min(2 * self._retry_seconds, LAST_RETRY_SECONDS)
            if not self._stopped and self._can_open():
                return

    def _can_open(self) -> bool:
        try:
            _look_again()
            self._open_device()
        except DeviceError:
            return False
        return True

    def _wait(self, seconds: float) -> None:
        until = time.perf_counter() + seconds
        while not self._stopped and (left := until - time.perf_counter()) > 0:
            time.sleep(min(left, POLL_SECONDS))

    def _open_device(self) -> None:
        sounddevice = _sounddevice()
        try:
            info = sounddevice.query_devices(self._device, "input")
            self._stream = self._first_that_opens(sounddevice, info)
            self._system_name = str(info["name"])
            _OPEN.add(self)
            self._stream.start()
        except (sounddevice.PortAudioError, ValueError) as error:
            self._close_device()
            raise self._not_opened(error) from error

    def _not_opened(self, error: Exception) -> DeviceError:
        from_alsa = _LINES.reason()
        if not input_devices():
            why = f" ({from_alsa})" if from_alsa else ""
            return DeviceError(f"no microphone was found{why}: plug one in, or hear a file", options=("input",))
        reason = "; ".join(filter(None, (_first_line(error), from_alsa)))
        return DeviceError(
            f"{self._name()} cannot be opened ({reason}): choose one of edge-lupi devices", options=("device",)
        )

    def _close_device(self) -> None:
        stream, self._stream = self._stream, None
        _OPEN.discard(self)
        if stream is not None:
            stream.close()

    def _first_that_opens(self, sounddevice: ModuleType, info: Any) -> _Stream:
        """16 kHz, then the device's own rate; as few channels as will do, then stereo, then all of them."""
        most, own_rate_hz = int(info["max_input_channels"]), int(info["default_samplerate"])
        least = max(self._pick) + 1 if self._pick else 1
        if least > most:
            raise DeviceError(f"expected channels of 0 to {most - 1}, which {self._name()} has, got {least - 1}")
        *ways, last = _ways(own_rate_hz, least, most)
        for way in ways:
            with suppress(sounddevice.PortAudioError):
                return self._stream_at(sounddevice, *way)
        return self._stream_at(sounddevice, *last)

    def _stream_at(self, sounddevice: ModuleType, rate_hz: int, channels: int) -> _Stream:
        ring = Ring(round(RING_SECONDS * rate_hz))

        def hand_over(samples: NDArray[np.float32], frames: int, _time: object, status: _Status) -> None:
            if status.input_overflow:
                ring.lose(frames)  # PortAudio does not say how many were lost; one block is the least
            ring.write(samples.copy())

        stream: _Stream = sounddevice.InputStream(
            device=self._device,
            samplerate=rate_hz,
            channels=channels,
            dtype="float32",
            blocksize=round(rate_hz * BLOCK_SECONDS),
            callback=hand_over,
        )
        self._peak_fill_seconds = self.peak_fill_seconds
        self.rate_hz, self.channels, self.ring = rate_hz, channels, ring
        return stream

    def _resampler(self) -> Resampler:
        return resampler(self.rate_hz, self.channels, self._pick, say)

    def _name(self) -> str:
        return "the default microphone" if self._device is None else f"microphone {self._device!r}"


def input_devices() -> list[dict[str, Any]]:
    """The microphones that PortAudio sees: index, name, channels, rate_hz, default."""
    sounddevice = _sounddevice()
    default = sounddevice.default.device[0]
    return [
        {
            "index": index,
            "name": str(info["name"]),
            "channels": int(info["max_input_channels"]),
            "rate_hz": int(info["default_samplerate"]),
            "default": index == default,
        }
        for index, info in enumerate(sounddevice.query_devices())
        if info["max_input_channels"] > 0
    ]


_LINES = NativeLines()
_OPEN: set[Microphone] = set()
_LOOKING = threading.Lock()


def _look_again() -> None:
    """Let PortAudio list its devices again, which it does only where no microphone of this process is open."""
    with _LOOKING:
        if not _OPEN:
            sounddevice = _sounddevice()
            sounddevice._terminate()
            sounddevice._initialize()


def _ways(own_rate_hz: int, least: int, most: int) -> Iterator[tuple[int, int]]:
    widths = dict.fromkeys((least, max(least, min(2, most)), most))
    for rate_hz in dict.fromkeys((SAMPLE_RATE_HZ, own_rate_hz)):
        for channels in widths:
            yield rate_hz, channels


def _sounddevice() -> ModuleType:
    try:
        import sounddevice
    except OSError as error:
        raise DeviceError(
            "the PortAudio library, which reaches the microphone, is not installed: apt install libportaudio2"
        ) from error
    return cast(ModuleType, sounddevice)


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
