import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import numpy as np
import pytest
import soundfile

from edge_lupi.errors import InputError
from edge_lupi.runtime.sources.files import SoundFile
from edge_lupi.runtime.sources.microphone import Microphone
from edge_lupi.runtime.sources.open import open_source
from edge_lupi.runtime.sources.several import Several
from edge_lupi.runtime.sources.source import Source, stop_on_signals
from edge_lupi.runtime.sources.stdin import StdinSource


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
    np.testing.assert_allclose(_joined(SoundFile(tone_file)), _tone(0.55), atol=1e-4)


def test_a_paced_file_comes_when_a_microphone_would_have_brought_it(tone_file: Path) -> None:
    began = time.perf_counter()
    heard = 0
    for block in SoundFile(tone_file, paced=True):
        heard += len(block.samples)
        assert block.received_seconds - began >= heard / 16_000
    assert time.perf_counter() - began < 2.0


def test_a_stopped_source_ends(tone_file: Path) -> None:
    source = SoundFile(tone_file, paced=True)
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
        source = SoundFile(tone_file, paced=True)
        stop_on_signals(source)
        assert len([os.kill(os.getpid(), signal.SIGINT) for _ in source]) == 1
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


def test_names_lead_to_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO()))
    assert isinstance(open_source("-"), StdinSource)
    assert isinstance(open_source("mic", device="3"), Microphone)
    assert isinstance(open_source("a.wav"), SoundFile)
    with pytest.raises(InputError, match="a device together with the input mic"):
        open_source("a.wav", device="3")
    assert isinstance(open_source("a.wav", "mic"), Several)


def test_each_channel_of_a_file_is_a_stream_of_its_own(sound_file: Callable[..., Path]) -> None:
    three = np.stack([_tone(0.55) * gain for gain in (0.1, 0.5, 1.0)], axis=1)
    blocks = list(SoundFile(sound_file("three.wav", three, subtype="FLOAT"), channels=(0, 2)))
    for name, column in (("0", three[:, 0]), ("2", three[:, 2])):
        np.testing.assert_array_equal(np.concatenate([b.samples for b in blocks if b.stream == name]), column)
    assert [block.more for block in blocks[:4]] == [True, False, True, False]


def test_a_single_channel_needs_no_name(sound_file: Callable[..., Path]) -> None:
    stereo = np.stack([_tone(0.55), np.zeros(8800, np.float32)], axis=1)
    path = sound_file("stereo.wav", stereo, subtype="FLOAT")
    assert {block.stream for block in SoundFile(path, channels=(1,))} == {""}
    np.testing.assert_array_equal(_joined(SoundFile(path, channels=(0,))), _tone(0.55))


def test_channels_of_another_rate_are_resampled_each_for_itself(sound_file: Callable[..., Path]) -> None:
    stereo = np.stack([_tone(1.0, 44_100), np.zeros(44_100, np.float32)], axis=1)
    blocks = list(SoundFile(sound_file("stereo.wav", stereo, 44_100), channels=(0, 1)))
    loud, quiet = (np.concatenate([b.samples for b in blocks if b.stream == name]) for name in "01")
    np.testing.assert_allclose(loud[1000:14_000], _tone(1.0)[1000:14_000], atol=0.01)
    assert not quiet.any()


@pytest.mark.parametrize(
    ("names", "options", "words"),
    [
        (("a.wav", "a.wav"), {}, "a.wav again"),
        (("a.wav", "mic"), {"device": "1", "channels": (0, 0)}, "each once"),
        (("-",), {"channels": (0,)}, "mono"),
        (("a.wav",), {"channels": (-1,)}, "expected channels as in 0,1,2"),
    ],
)
def test_what_cannot_be_a_source_is_one_sentence(names: tuple[str, ...], options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        open_source(*names, **options)


def test_a_channel_that_a_file_has_not_is_one_sentence(tone_file: Path) -> None:
    with pytest.raises(InputError, match=r"tone.wav: expected channels of 0 to 0, got 0, 3"):
        list(SoundFile(tone_file, channels=(0, 3)))
