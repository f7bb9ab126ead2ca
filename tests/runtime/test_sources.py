import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np
import pytest
import soundfile

from edge_lupi.errors import DeviceError, InputError
from edge_lupi.runtime import sources
from edge_lupi.runtime.ring import Block
from edge_lupi.runtime.sources import (
    FileSource,
    Microphone,
    Source,
    StdinSource,
    input_devices,
    open_source,
    stop_on_signals,
)


def _tone(seconds: float, rate_hz: int = 16_000) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def _joined(source: Source) -> np.ndarray:
    with source:
        return np.concatenate([block.samples for block in source])


@pytest.fixture
def tone_file(tmp_path: Path) -> Path:
    path = tmp_path / "tone.wav"
    soundfile.write(path, _tone(0.55), 16_000)
    return path


def test_a_file_comes_whole(tone_file: Path) -> None:
    np.testing.assert_allclose(_joined(FileSource(tone_file)), _tone(0.55), atol=1e-4)


def test_a_paced_file_comes_when_a_microphone_would_have_brought_it(tone_file: Path) -> None:
    began = time.perf_counter()
    heard = 0
    for block in FileSource(tone_file, paced=True):
        heard += len(block.samples)
        assert block.received_seconds - began >= heard / 16_000
    assert time.perf_counter() - began < 2.0


def test_a_stopped_source_ends(tone_file: Path) -> None:
    source = FileSource(tone_file, paced=True)
    assert len([source.stop() for _ in source]) == 1


def _pipe(data: bytes) -> BinaryIO:
    reader, writer = os.pipe()
    threading.Thread(target=lambda: (os.write(writer, data), os.close(writer))).start()
    return os.fdopen(reader, "rb")


def test_raw_samples_come_from_a_pipe() -> None:
    raw = (_tone(0.5) * 32767).astype("<i2")
    with _pipe(raw.tobytes() + b"\x01") as stream:  # an odd byte at the end is no sample
        np.testing.assert_array_equal(_joined(StdinSource(stream=stream)), raw.astype(np.float32) / 32768)


def test_a_pipe_at_another_rate_is_resampled() -> None:
    raw = (_tone(0.5, 48_000) * 32767).astype("<i2")
    with _pipe(raw.tobytes()) as stream:
        samples = _joined(StdinSource(48_000, stream))
    assert len(samples) == pytest.approx(8000, abs=2)
    np.testing.assert_allclose(samples[1000:7000], _tone(0.5)[1000:7000], atol=0.01)


def test_an_empty_pipe_is_one_sentence() -> None:
    with _pipe(b"") as stream, pytest.raises(InputError, match="got nothing"):
        _joined(StdinSource(stream=stream))


def test_a_silent_pipe_can_be_stopped() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stream:
        source = StdinSource(stream=stream)
        threading.Timer(0.05, source.stop).start()
        assert list(source) == []
    os.close(writer)


def test_ctrl_c_stops_the_source_and_a_second_one_the_process(tone_file: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    try:
        source = FileSource(tone_file, paced=True)
        stop_on_signals(source)
        assert len([os.kill(os.getpid(), signal.SIGINT) for _ in source]) == 1
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


class FakePortAudio:
    """Stands in for the sounddevice module: one device, which accepts `rates_hz` only."""

    PortAudioError = type("PortAudioError", (Exception,), {})
    default = SimpleNamespace(device=(1, 0))

    def __init__(self, rates_hz: tuple[int, ...] = (16_000,), devices: int = 1) -> None:
        self._rates_hz = rates_hz
        self._devices = [
            {"name": "loudspeaker", "max_input_channels": 0, "default_samplerate": 48_000.0},
            {"name": "fake", "max_input_channels": 2, "default_samplerate": 48_000.0},
        ][: 1 + devices]
        self.stream = None

    def query_devices(self, device: int | str | None = None, kind: str | None = None) -> object:
        if kind is None:
            return self._devices
        if device not in (None, 1, "fake") or len(self._devices) < 2:
            raise ValueError(f"No input device matching {device!r}")
        return self._devices[1]

    def InputStream(self, **settings: object) -> SimpleNamespace:
        if settings["samplerate"] not in self._rates_hz:
            raise self.PortAudioError("Invalid sample rate")
        self.stream = SimpleNamespace(start=lambda: None, close=lambda: None, **settings)
        return self.stream

    def speak(self, samples: np.ndarray, overflow: bool = False) -> None:
        blocks = samples.reshape(-1, self.stream.blocksize, self.stream.channels)
        for block in blocks:
            self.stream.callback(block, len(block), None, SimpleNamespace(input_overflow=overflow))


@pytest.fixture
def portaudio(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakePortAudio]:
    def install(**settings: object) -> FakePortAudio:
        fake = FakePortAudio(**settings)
        monkeypatch.setitem(sys.modules, "sounddevice", fake)
        return fake

    return install


def _hear(microphone: Microphone, blocks: int) -> list[Block]:
    stream = iter(microphone)
    return [next(stream) for _ in range(blocks)]


def test_a_microphone_gives_what_it_hears(portaudio: Callable[..., FakePortAudio]) -> None:
    fake = portaudio()
    with Microphone("fake") as microphone:
        fake.speak(_tone(0.2))
        heard = _hear(microphone, 10)
    np.testing.assert_array_equal(np.concatenate([block.samples for block in heard]), _tone(0.2))
    assert not any(block.gap for block in heard)


def test_a_microphone_opens_itself_for_one_iteration(portaudio: Callable[..., FakePortAudio]) -> None:
    fake = portaudio()
    microphone = Microphone()
    stream = iter(microphone)
    threading.Timer(0.05, lambda: fake.speak(_tone(0.02))).start()
    assert len(next(stream).samples) == 320
    microphone.stop()
    assert list(stream) == []
    assert microphone._stream is None


def test_a_microphone_that_refuses_16_khz_is_resampled(portaudio: Callable[..., FakePortAudio]) -> None:
    fake = portaudio(rates_hz=(48_000,))
    with Microphone() as microphone:
        assert (microphone.rate_hz, microphone.channels) == (48_000, 2)
        fake.speak(np.repeat(_tone(1.0, 48_000)[:, None], 2, axis=1))
        samples = np.concatenate([block.samples for block in _hear(microphone, 50)])
    np.testing.assert_allclose(samples[1000:14_000], _tone(1.0)[1000:14_000], atol=0.01)


def test_an_overflow_of_the_device_is_counted_and_marked(portaudio: Callable[..., FakePortAudio]) -> None:
    fake = portaudio(rates_hz=(48_000,))
    with Microphone() as microphone:
        silence = np.zeros((960, 2), np.float32)
        fake.speak(silence)
        fake.speak(silence, overflow=True)
        first, second = _hear(microphone, 2)
    assert (first.dropped, first.gap, second.dropped, second.gap) == (0, False, 320, True)


def test_a_reader_that_is_too_slow_is_told(
    portaudio: Callable[..., FakePortAudio], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "RING_SECONDS", 0.2)
    fake = portaudio()
    with Microphone() as microphone:
        fake.speak(_tone(1.0))
        (block,) = _hear(microphone, 1)
        assert block.gap
        assert block.dropped == microphone.ring.dropped > 0
        assert microphone.ring.peak_fill <= 3200


def test_a_microphone_that_falls_silent_for_good_is_one_sentence(
    portaudio: Callable[..., FakePortAudio], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "SILENT_DEVICE_SECONDS", 0.1)
    portaudio()
    with Microphone() as microphone, pytest.raises(DeviceError, match="unplugged"):
        list(microphone)


@pytest.mark.parametrize("settings", [{"devices": 0}, {"rates_hz": ()}])
def test_a_microphone_that_cannot_be_opened_is_one_sentence(
    portaudio: Callable[..., FakePortAudio], settings: dict[str, Any]
) -> None:
    portaudio(**settings)
    with pytest.raises(DeviceError, match="edge-lupi devices"), Microphone():
        pass


def test_an_unknown_microphone_is_one_sentence(portaudio: Callable[..., FakePortAudio]) -> None:
    portaudio()
    with pytest.raises(DeviceError, match="microphone 'nonesuch' cannot be opened"), Microphone("nonesuch"):
        pass


def test_a_missing_portaudio_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, *rest: object) -> object:
        if name == "sounddevice":
            raise OSError("PortAudio library not found")
        return real(name, *rest)

    real = __import__
    monkeypatch.setattr("builtins.__import__", refuse)
    with pytest.raises(DeviceError, match="apt install libportaudio2"):
        input_devices()


def test_lists_what_can_listen(portaudio: Callable[..., FakePortAudio]) -> None:
    portaudio()
    assert input_devices() == [{"index": 1, "name": "fake", "channels": 2, "rate_hz": 48_000, "default": True}]


def test_names_lead_to_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO()))
    assert isinstance(open_source("-"), StdinSource)
    assert isinstance(open_source("mic", device="3"), Microphone)
    assert isinstance(open_source("a.wav"), FileSource)
    with pytest.raises(InputError, match="--device"):
        open_source("a.wav", device="3")
