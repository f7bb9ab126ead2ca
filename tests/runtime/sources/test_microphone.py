"""The microphone with PortAudio replaced, for devices that no test machine has; the real thing is in tests/test_microphone.py."""

import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_lupi.errors import DeviceError
from edge_lupi.runtime.sources import microphone as microphones
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.sources.microphone import Microphone, input_devices


def _tone(seconds: float, rate_hz: int = 16_000) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


class FakePortAudio:
    """Stands in for the sounddevice module: one device, which accepts `rates_hz` and `widths` (channels) only."""

    PortAudioError = type("PortAudioError", (Exception,), {})
    default = SimpleNamespace(device=(1, 0))

    def __init__(
        self, rates_hz: tuple[int, ...] = (16_000,), devices: int = 1, widths: tuple[int, ...] = (1, 2)
    ) -> None:
        self._rates_hz, self._widths = rates_hz, widths
        self._devices = [
            {"name": "loudspeaker", "max_input_channels": 0, "default_samplerate": 48_000.0},
            {"name": "fake", "max_input_channels": max(widths), "default_samplerate": 48_000.0},
        ][: 1 + devices]
        self.stream = None
        self.unplugged = False
        self.opened = self.listings = 0

    def query_devices(self, device: int | str | None = None, kind: str | None = None) -> object:
        if kind is None:
            return self._devices
        if device not in (None, 1, "fake") or len(self._devices) < 2:
            raise ValueError(f"No input device matching {device!r}")
        return self._devices[1]

    def InputStream(self, **settings: object) -> SimpleNamespace:
        if settings["samplerate"] not in self._rates_hz or settings["channels"] not in self._widths:
            raise self.PortAudioError("Invalid sample rate")
        if self.unplugged:
            raise self.PortAudioError("Device unavailable")
        self.opened += 1
        self.stream = SimpleNamespace(start=lambda: None, close=lambda: None, active=True, **settings)
        return self.stream

    def unplug(self) -> None:
        self.unplugged, self.stream.active = True, False

    def _terminate(self) -> None:
        self.listings += 1

    def _initialize(self) -> None:
        """Devices are listed anew."""

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
    fake = portaudio(rates_hz=(48_000,), widths=(2,))
    with Microphone() as microphone:
        assert (microphone.rate_hz, microphone.channels) == (48_000, 2)
        fake.speak(np.repeat(_tone(1.0, 48_000)[:, None], 2, axis=1))
        stream, samples = iter(microphone), np.zeros(0)
        while len(samples) < 13_000:  # the resampler holds some back
            samples = np.concatenate([samples, next(stream).samples])
    np.testing.assert_allclose(samples[1000:13_000], _tone(1.0)[1000:13_000], atol=0.01)


def test_an_overflow_of_the_device_is_counted_and_marked(portaudio: Callable[..., FakePortAudio]) -> None:
    fake = portaudio(rates_hz=(16_000,), widths=(2,))
    with Microphone() as microphone:
        silence = np.zeros((320, 2), np.float32)
        fake.speak(silence)
        fake.speak(silence, overflow=True)
        first, second = _hear(microphone, 2)
    assert (first.dropped, first.gap, second.dropped, second.gap) == (0, False, 320, True)


def test_a_reader_that_is_too_slow_is_told(
    portaudio: Callable[..., FakePortAudio], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(microphones, "RING_SECONDS", 0.2)
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
    monkeypatch.setattr(microphones, "START_SECONDS", 0.1)
    portaudio()
    with Microphone(retry=False) as microphone, pytest.raises(DeviceError, match="unplugged"):
        list(microphone)


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"devices": 0}, "no microphone was found: plug one in"), ({"rates_hz": ()}, "choose one of edge-lupi devices")],
)
def test_a_microphone_that_cannot_be_opened_is_one_sentence(
    portaudio: Callable[..., FakePortAudio], settings: dict[str, Any], said: str
) -> None:
    portaudio(**settings)
    with pytest.raises(DeviceError, match=said), Microphone():
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


def test_a_device_that_wants_all_its_channels_gets_them(portaudio: Callable[..., FakePortAudio]) -> None:
    fake = portaudio(rates_hz=(16_000,), widths=(6,))
    with Microphone() as microphone:
        assert microphone.channels == 6
        fake.speak(np.repeat(_tone(0.02)[:, None], 6, axis=1))
        np.testing.assert_allclose(_hear(microphone, 1)[0].samples, _tone(0.02), atol=1e-6)


def test_each_channel_of_an_array_is_a_stream_of_its_own(portaudio: Callable[..., FakePortAudio]) -> None:
    fake = portaudio(widths=(4,))
    with Microphone(channels=(0, 3)) as microphone:
        fake.speak(np.stack([_tone(0.02) * gain for gain in (1, 2, 3, 0.5)], axis=1))
        first, fourth = _hear(microphone, 2)
    assert [(b.stream, b.more) for b in (first, fourth)] == [("0", True), ("3", False)]
    np.testing.assert_array_equal(fourth.samples, _tone(0.02) * np.float32(0.5))


def test_a_channel_that_the_device_has_not_is_one_sentence(portaudio: Callable[..., FakePortAudio]) -> None:
    portaudio()
    with pytest.raises(DeviceError, match="expected channels of 0 to 1"), Microphone(channels=(5,)):
        pass


def test_a_device_that_comes_back_is_heard_again(
    portaudio: Callable[..., FakePortAudio],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(microphones, "FIRST_RETRY_SECONDS", 0.05)
    fake = portaudio(rates_hz=(48_000,))

    def come_back() -> None:
        fake.unplugged = False
        while fake.opened < 2:
            threading.Event().wait(0.01)
        fake.speak(_tone(0.5, 48_000))

    with Microphone() as microphone:
        fake.speak(_tone(0.5, 48_000))
        stream = iter(microphone)
        before = [next(stream) for _ in range(10)]
        fake.unplug()
        threading.Timer(0.6, come_back).start()
        after = list(_until(stream, 0.4))
    gap = next(block for block in after if block.gap)
    assert gap.dropped == pytest.approx(0.7 * 16_000, abs=0.5 * 16_000)  # what the clock says: 0.6 s and a retry
    heard_before = sum(len(block.samples) for block in [*before, *after[: after.index(gap)]])
    assert heard_before == 8000  # what the resampler still held belongs before the gap
    assert sum(block.gap for block in after) == 1
    assert microphone.reconnections == 1
    assert fake.listings >= 2
    said = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1] for line in said] == [
        " the default microphone gives nothing any more",
        " the default microphone is back",
    ]


def _until(stream: Iterator[Block], seconds: float) -> Iterator[Block]:
    """Blocks up to so many seconds after the gap."""
    heard, found = 0, False
    while heard < seconds * 16_000:
        block = next(stream)
        found = found or block.gap
        heard += len(block.samples) * found
        yield block


def test_waiting_for_a_lost_device_can_be_stopped(portaudio: Callable[..., FakePortAudio]) -> None:
    fake = portaudio()
    with Microphone() as microphone:
        fake.unplug()
        threading.Timer(0.3, microphone.stop).start()
        assert list(microphone) == []
    assert microphone.reconnections == 0
