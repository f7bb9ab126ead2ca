"""Where sound comes from: a file, standard input or a microphone. Each gives Blocks of float32 [n] at 16 kHz mono.

    with Microphone() as source:
        for block in source: ...

`stop()` ends the iteration soon; it only sets a flag, so a signal handler may call it.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, ModuleType, TracebackType
from typing import Any, BinaryIO, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from edge_lupi.audio import resampler, stream_audio
from edge_lupi.errors import DeviceError, InputError
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.runtime.ring import Block, Ring

__all__ = ["FileSource", "Microphone", "Source", "StdinSource", "input_devices", "open_source", "stop_on_signals"]

BLOCK_SECONDS = 0.1  # files and pipes
MICROPHONE_BLOCK_SECONDS = 0.02
RING_SECONDS = 10.0
POLL_SECONDS = 0.2  # how soon stop() is seen
SILENT_DEVICE_SECONDS = 5.0  # a working device is never quiet for so long: it gives blocks even in silence


class _Stream(Protocol):
    def start(self) -> None: ...
    def close(self) -> None: ...


class _Status(Protocol):
    input_overflow: bool


class Source:
    """What all sources share: a context manager, iterable, that can be stopped."""

    live = False

    def __init__(self) -> None:
        self._stopped = False

    def stop(self) -> None:
        """End the iteration at the next block."""
        self._stopped = True

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of whatever is open."""

    def __iter__(self) -> Iterator[Block]:
        raise NotImplementedError


class FileSource(Source):
    """A sound file; `paced` gives the blocks when they would have come from a microphone."""

    def __init__(self, path: str | Path, paced: bool = False) -> None:
        super().__init__()
        self._path = path
        self._paced = paced

    def __iter__(self) -> Iterator[Block]:
        began, samples = time.perf_counter(), 0
        for block in stream_audio(self._path, BLOCK_SECONDS):
            samples += len(block)
            if self._paced:
                time.sleep(max(0.0, began + samples / SAMPLE_RATE_HZ - time.perf_counter()))
            if self._stopped:
                return
            yield Block(block, time.perf_counter())


class StdinSource(Source):
    """Raw signed 16-bit little-endian mono from standard input (or another open pipe), at `rate_hz`."""

    def __init__(self, rate_hz: int = SAMPLE_RATE_HZ, stream: BinaryIO | None = None) -> None:
        super().__init__()
        self._resampler = resampler(rate_hz, 1)
        self._stream = stream or sys.stdin.buffer
        self._read_bytes = 2 * max(1, round(rate_hz * BLOCK_SECONDS))

    def __iter__(self) -> Iterator[Block]:
        heard, odd = False, b""
        for data in self._chunks():
            heard, data = True, odd + data
            whole = len(data) // 2 * 2
            odd = data[whole:]
            yield from _blocks_of(self._resampler.push(_floats(data[:whole])))
        if not heard and not self._stopped:
            raise InputError(
                "expected raw 16-bit mono samples on standard input, got nothing: pipe some in, as in arecord -t raw -f S16_LE -r 16000 | edge-lupi listen --input -"
            )
        yield from _blocks_of(self._resampler.flush())

    def _chunks(self) -> Iterator[bytes]:
        descriptor = self._stream.fileno()
        while not self._stopped:
            ready, _, _ = select.select([descriptor], [], [], POLL_SECONDS)
            if ready:
                data = os.read(descriptor, self._read_bytes)
                if not data:
                    return
                yield data


class Microphone(Source):
    """A microphone through PortAudio, opened at 16 kHz mono, or at its own rate and resampled where it refuses that.

    Opened by `with`, or for the time of one iteration without it.
    """

    live = True

    def __init__(self, device: int | str | None = None) -> None:
        super().__init__()
        self._device = device
        self._stream: _Stream | None = None
        self.rate_hz = SAMPLE_RATE_HZ
        self.channels = 1
        self.ring = Ring(round(RING_SECONDS * SAMPLE_RATE_HZ))

    def __enter__(self) -> Microphone:
        sounddevice = _sounddevice()
        try:
            info = sounddevice.query_devices(self._device, "input")
            self._stream = self._open(
                sounddevice, int(info["default_samplerate"]), min(2, int(info["max_input_channels"]))
            )
            self._stream.start()
        except (sounddevice.PortAudioError, ValueError) as error:
            wanted = "the default microphone" if self._device is None else f"microphone {self._device!r}"
            raise DeviceError(
                f"{wanted} cannot be opened ({_first_line(error)}): see edge-lupi devices and choose one with --device"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __iter__(self) -> Iterator[Block]:
        if self._stream is not None:
            yield from self._blocks()
            return
        with self:
            yield from self._blocks()

    def _blocks(self) -> Iterator[Block]:
        to_16_khz = resampler(self.rate_hz, self.channels)
        last = time.perf_counter()
        while not self._stopped:
            block = self.ring.read(POLL_SECONDS)
            if block is None:
                if time.perf_counter() - last > SILENT_DEVICE_SECONDS:
                    raise DeviceError(
                        f"the microphone gave nothing for {SILENT_DEVICE_SECONDS:g} s: was it unplugged? See edge-lupi devices"
                    )
                continue
            last = block.received_seconds
            if block.gap:
                to_16_khz = resampler(self.rate_hz, self.channels)
            dropped = round(block.dropped * SAMPLE_RATE_HZ / self.rate_hz)
            yield Block(to_16_khz.push(block.samples), block.received_seconds, dropped, block.gap)

    def _open(self, sounddevice: ModuleType, own_rate_hz: int, own_channels: int) -> _Stream:
        try:
            return self._stream_at(sounddevice, SAMPLE_RATE_HZ, 1)
        except sounddevice.PortAudioError:
            return self._stream_at(sounddevice, own_rate_hz, own_channels)

    def _stream_at(self, sounddevice: ModuleType, rate_hz: int, channels: int) -> _Stream:
        stream: _Stream = sounddevice.InputStream(
            device=self._device,
            samplerate=rate_hz,
            channels=channels,
            dtype="float32",
            blocksize=round(rate_hz * MICROPHONE_BLOCK_SECONDS),
            callback=self._hand_over,
        )
        self.rate_hz, self.channels = rate_hz, channels
        self.ring = Ring(round(RING_SECONDS * rate_hz))
        return stream

    def _hand_over(self, samples: NDArray[np.float32], frames: int, _time: object, status: _Status) -> None:
        if status.input_overflow:
            self.ring.lose(frames)  # PortAudio does not say how many were lost; one block is the least
        self.ring.write(samples.copy())


def open_source(name: str, *, device: str | None = None, paced: bool = False, rate_hz: int = SAMPLE_RATE_HZ) -> Source:
    """The source of a name: `mic`, `-` for standard input, or else a sound file. `device` is a number or a name."""
    if name == "mic":
        return Microphone(int(device) if device and device.isdecimal() else device)
    if device is not None:
        raise InputError(f"expected --device together with --input mic, got --input {name}: leave one of them out")
    return StdinSource(rate_hz) if name == "-" else FileSource(name, paced)


def stop_on_signals(source: Source) -> None:
    """Let Ctrl-C and SIGTERM end the source, so that what was heard is still told; a second Ctrl-C ends the process."""

    def stop(number: int, _frame: FrameType | None) -> None:
        source.stop()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


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


def _sounddevice() -> ModuleType:
    try:
        import sounddevice
    except OSError as error:
        raise DeviceError(
            "the PortAudio library, which reaches the microphone, is not installed: apt install libportaudio2"
        ) from error
    return cast(ModuleType, sounddevice)


def _blocks_of(samples: NDArray[np.float32]) -> Iterator[Block]:
    if len(samples):
        yield Block(samples, time.perf_counter())


def _floats(data: bytes) -> NDArray[np.float32]:
    return np.frombuffer(data, "<i2").astype(np.float32)[:, None] / np.float32(32768)


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
