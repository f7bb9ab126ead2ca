"""What a header promises against what the file holds: everything there is heard, with a sentence; training refuses."""

from __future__ import annotations

import io
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from edge_lupi.errors import InputError
from edge_lupi.sound.audio import read_audio, stream_audio
from edge_lupi.sound.kinds import sound_kind
from edge_lupi.sound.wav import read_wav

Cli = Callable[..., subprocess.CompletedProcess[str]]
SECONDS = 4.0


@pytest.fixture
def wav(sound_file: Callable[..., Path], voice: Callable[..., Any]) -> Path:
    return sound_file("a.wav", voice(0, SECONDS))


def told(path: Path) -> tuple[float, list[str]]:
    """Seconds that a listener hears, and what it is told."""
    notices = list[str]()
    return sum(map(len, stream_audio(path, notice=notices.append))) / 16_000, notices


def with_size(content: bytes, size: int) -> bytes:
    at = content.index(b"data") + 4
    return content[:at] + struct.pack("<I", size) + content[at + 4 :]


@pytest.mark.parametrize("size", [0, 0xFFFF_FFFF, 0x7FFF_FFFF, 2 * 16_000])
def test_a_header_that_says_too_little_or_nothing(wav: Path, size: int) -> None:
    wav.write_bytes(with_size(wav.read_bytes(), size))
    seconds, (notice,) = told(wav)
    assert seconds == SECONDS
    assert "4.0 s" in notice
    with pytest.raises(InputError, match=r"expected .*, got .*4\.0 s.*: copy it anew"):
        read_audio(wav)


def test_half_a_wav_is_heard_with_a_sentence_and_not_learnt_from(wav: Path) -> None:
    content = wav.read_bytes()
    wav.write_bytes(content[: len(content) // 2])
    seconds, (notice,) = told(wav)
    assert seconds == pytest.approx(2.0, abs=0.01)
    assert "4.0 s of sound, as the header says" in notice
    assert "got 2.0 s" in notice
    with pytest.raises(InputError, match=r"got 2\.0 s: copy it anew"):
        read_audio(wav)


def test_a_header_that_wrapped_past_four_gigabytes(tmp_path: Path) -> None:
    size = 4_600_000_000 // 32 * 32  # 96 kHz, 8 channels, 32 bit: 25 min, sparse
    head = b"RIFF" + struct.pack("<I", (size + 36) % 2**32) + b"WAVEfmt "
    head += struct.pack("<IHHIIHH", 16, 1, 8, 96_000, 96_000 * 32, 32, 32) + b"data" + struct.pack("<I", size % 2**32)
    with (tmp_path / "a.wav").open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)
    notices = list[str]()
    next(stream_audio(tmp_path / "a.wav", notice=notices.append))
    assert "expected 99.3 s" in notices[0]
    assert "got 1497.4 s" in notices[0]


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
def test_files_one_after_another_are_all_heard(
    sound_file: Callable[..., Path], voice: Callable[..., Any], ending: str
) -> None:
    path = sound_file(f"a.{ending}", voice(0, SECONDS))
    one = read_audio(path)
    path.write_bytes(2 * path.read_bytes())
    seconds, notices = told(path)
    assert seconds == pytest.approx(2 * len(one) / 16_000, abs=0.1)
    assert notices == []
    late = read_audio(path, start_seconds=SECONDS + 1, end_seconds=SECONDS + 2)
    early = read_audio(path, start_seconds=1 + SECONDS - len(one) / 16_000, end_seconds=2)
    assert len(late) == 16_000
    if ending in ("wav", "flac"):
        np.testing.assert_allclose(late, early, atol=2e-3)


@pytest.mark.parametrize("ending", ["ogg", "mp3", "aiff"])
def test_half_of_other_files_is_not_learnt_from(
    sound_file: Callable[..., Path], voice: Callable[..., Any], ending: str
) -> None:
    path = sound_file(f"a.{ending}", voice(0, SECONDS))
    assert told(path)[1] == []
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    seconds, notices = told(path)
    assert 0.5 < seconds < 3
    assert len(notices) == 1
    with pytest.raises(InputError, match="expected"):
        read_audio(path)


def test_chunks_behind_the_samples_are_no_sound_and_no_doubt(wav: Path) -> None:
    whole = read_audio(wav)
    for chunk in (b"LIST" + struct.pack("<I", 6) + b"INFO\0\0", b"\0" * 512):
        content = wav.read_bytes()
        wav.write_bytes(content + chunk)
        np.testing.assert_array_equal(read_audio(wav), whole)
        wav.write_bytes(content)


def test_a_thousand_channels_are_one_sentence(tmp_path: Path, cli: Cli) -> None:
    head = b"RIFF" + struct.pack("<I", 2**31) + b"WAVEfmt "
    head += struct.pack("<IHHIIHH", 16, 1, 1024, 192_000, 192_000 * 2048, 2048, 16) + b"data" + struct.pack("<I", 2**30)
    with (tmp_path / "a.wav").open("wb") as file:
        file.write(head)
        file.truncate(len(head) + 2**30)
    done = cli("listen", "--input", tmp_path / "a.wav")
    assert done.returncode == 1
    assert done.stderr.startswith("edge-lupi: expected at most 64 channels")


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW"])
@pytest.mark.parametrize(("form", "order"), [("WAV", "FILE"), ("WAV", "BIG"), ("WAVEX", "FILE"), ("RF64", "FILE")])
def test_samples_are_what_libsndfile_makes_of_them(subtype: str, form: str, order: str) -> None:
    sound = np.random.default_rng(0).uniform(-1, 1, (500, 3))
    file = io.BytesIO()
    soundfile.write(file, sound, 8000, subtype=subtype, format=form, endian=order)
    file.seek(0)
    wav = read_wav(file.read, "here")
    assert wav is not None
    decoded = wav.decoded(file.read(wav.promised_bytes))
    file.seek(0)
    np.testing.assert_array_equal(decoded, soundfile.read(file, dtype="float32")[0])


def test_kinds_by_their_first_bytes(sound_file: Callable[..., Path], voice: Callable[..., Any]) -> None:
    for ending in ("wav", "flac", "ogg", "mp3", "aiff"):
        assert sound_kind(sound_file(f"a.{ending}", voice(0, 1.0)).read_bytes()[:4096]) == ending.upper()
    for seed in range(200):
        noise = np.random.default_rng(seed).integers(0, 256, 4096, np.uint8).tobytes()
        assert sound_kind(b"\xff\xfb" + noise) == ""
