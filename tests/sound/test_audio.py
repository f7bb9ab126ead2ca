"""read_audio, stream_audio and the resampler: right on good files, one sentence on bad ones."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lupi.errors import InputError, MissingExtra
from edge_lupi.sound import audio
from edge_lupi.sound.audio import read_audio, stream_audio
from edge_lupi.sound.offset import without_offset
from edge_lupi.sound.resampler import Resampler, resampler
from edge_lupi.words import printable

Maker = Callable[..., Any]  # a fixture of conftest.py


def tone(seconds: float, rate_hz: int, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def test_sixteen_kilohertz_mono_comes_back_as_written(sound_file: Maker, voice: Maker) -> None:
    samples = voice(0, 1.0)
    read = read_audio(sound_file("a.wav", samples, subtype="FLOAT"))
    assert read.dtype == np.float32
    assert np.array_equal(read, without_offset(samples))
    assert np.allclose(read, samples, atol=2e-3)


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("rate_hz", [8000, 22050, 44100, 48000])
def test_any_rate_and_format_gives_the_same_tone(sound_file: Maker, ending: str, rate_hz: int) -> None:
    read = read_audio(sound_file(f"a.{ending}", tone(1.0, rate_hz), rate_hz))
    assert len(read) == pytest.approx(16_000, abs=3000 if ending == "mp3" else 1)  # an mp3 is padded to whole blocks
    inside = read[4000:12_000] * np.hanning(8000)
    assert np.argmax(np.abs(np.fft.rfft(inside))) == 220  # 440 Hz in bins of 2 Hz
    assert np.sqrt(np.mean(read[4000:12_000] ** 2)) == pytest.approx(0.5 / 2**0.5, rel=0.02)


def test_channels_are_averaged(sound_file: Maker) -> None:
    left, right = tone(0.5, 16_000), tone(0.5, 16_000, 1000)
    read = read_audio(sound_file("a.wav", np.stack([left, right, 0 * left], axis=1), subtype="FLOAT"))
    assert np.allclose(read, (left + right) / 3, atol=2e-3)


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_a_window_is_that_part_of_the_whole(sound_file: Maker, voice: Maker, rate_hz: int) -> None:
    path = sound_file("a.flac", voice(1, 2.0, rate_hz), rate_hz)
    part = read_audio(path, start_seconds=0.5, end_seconds=1.25)
    assert len(part) == 12_000
    whole = read_audio(path)
    assert np.allclose(part[200:-200], whole[8200:19_800], atol=1e-3)
    assert len(read_audio(path, start_seconds=1.5, end_seconds=9)) == 8000


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("block", [1, 7, 480, 10_000])
def test_pushed_in_parts_equals_pushed_whole(rate_hz: int, block: int) -> None:
    sound = np.stack([tone(0.3, rate_hz), tone(0.3, rate_hz, 2000)], axis=1)
    whole, parts = resampler(rate_hz, 2), resampler(rate_hz, 2)
    expected = np.concatenate([whole.push(sound), whole.flush()])
    joined = np.concatenate([*(parts.push(sound[i : i + block]) for i in range(0, len(sound), block)), parts.flush()])
    assert len(joined) == 4800
    assert np.allclose(joined, expected, atol=1e-6)


@pytest.mark.parametrize("block_seconds", [0.0001, 0.013, 0.1, 60])
def test_a_stream_joined_is_the_file(sound_file: Maker, voice: Maker, block_seconds: float) -> None:
    path = sound_file("a.wav", voice(2, 0.7, 22_050), 22_050)
    joined = without_offset(np.concatenate(list(stream_audio(path, block_seconds))))
    assert np.allclose(joined, read_audio(path), atol=1e-6)


def test_a_stream_is_lazy_and_its_blocks_are_short(sound_file: Maker, voice: Maker) -> None:
    blocks = list(stream_audio(sound_file("a.wav", voice(2, 3.0)), 0.1))
    assert {len(block) for block in blocks} == {1600}
    assert next(iter(stream_audio(sound_file("b.wav", voice(2, 3.0)), 0.5))).shape == (8000,)


@pytest.mark.parametrize("ending", ["mp4", "mpg"])
def test_the_sound_of_a_video(video_file: Maker, voice: Maker, ending: str) -> None:
    path = video_file(f"a.{ending}", 2.0)
    read, spoken = read_audio(path), voice(0, 2.0)
    assert len(read) == pytest.approx(32_000, abs=2400)  # codecs pad to whole packets
    lag = np.argmax(np.correlate(read, spoken[8000:16_000])) - 8000
    assert abs(lag) <= 1200
    assert np.corrcoef(read[8000 + lag : 16_000 + lag], spoken[8000:16_000])[0, 1] > 0.9
    window = read_audio(path, start_seconds=0.5, end_seconds=1.5)
    assert np.allclose(window, read[8000:24_000], atol=5e-3)


def test_float_files_above_one_are_clipped(sound_file: Maker) -> None:
    assert np.abs(read_audio(sound_file("a.wav", 3 * tone(0.5, 16_000), subtype="FLOAT"))).max() == 1.0


def refused(path: Path, **window: float) -> str:
    with pytest.raises(InputError) as caught:
        read_audio(path, **window)
    with pytest.raises(InputError):
        list(stream_audio(path)) if not window else read_audio(path, **window)
    text = str(caught.value)
    assert text.startswith(("expected", printable(str(path))[:200]))
    assert "got" in text or "cannot be looked at" in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.full(16_000, np.nan), "NaN"),
        (np.r_[np.zeros(15_999), np.inf], "infinity"),
        (np.full(16_000, 20_000.0), "scale the file"),
        (np.zeros(0), "at least 0.1 s"),
        (np.zeros(1), "at least 0.1 s"),
        (np.zeros(1599), "at least 0.1 s"),
    ],
)
def test_samples_that_cannot_be_used(sound_file: Maker, samples: np.ndarray, words: str) -> None:
    assert words in refused(sound_file("a.wav", samples, subtype="FLOAT"))


def test_a_tenth_of_a_second_is_enough(sound_file: Maker) -> None:
    assert len(read_audio(sound_file("a.wav", np.zeros(1600)))) == 1600


@pytest.mark.parametrize("rate_hz", [1, 100, 3999, 768_001, 2_000_000_000])
def test_absurd_rates(sound_file: Maker, rate_hz: int) -> None:
    assert f"got {rate_hz} Hz" in refused(sound_file("a.wav", np.zeros(4000), rate_hz))
    with pytest.raises(InputError, match="sample rate"):
        Resampler(rate_hz, 1)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp4", "a.raw", "a", "a.txt"])
@pytest.mark.parametrize(
    "content", [b"hello, this is text\n" * 50, b"\0" * 4096, b"RIFF\xff\xff\xff\xffWAVE", b"fLaC" + bytes(60)]
)
def test_files_that_are_no_sound(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name)


def test_places_without_a_file(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "missing.wav")
    assert "a folder" in refused(tmp_path)
    assert "empty" in refused_empty(tmp_path)
    refused(tmp_path / ("x" * 5000 + ".wav"))
    refused(Path("nul\0byte.wav"))


def refused_empty(folder: Path) -> str:
    (folder / "empty.wav").touch()
    return refused(folder / "empty.wav")


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_broken_flac_is_not_taken_for_whole(sound_file: Maker, voice: Maker, kept: float) -> None:
    path = sound_file("a.flac", voice(0, 4.0))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    refused(path)


def test_windows_that_make_no_sense(sound_file: Maker, voice: Maker) -> None:
    path = sound_file("a.wav", voice(0, 1.0))
    for start, end in ((-1, 1), (1, 1), (0.8, 0.2), (float("nan"), 1), (0, float("inf")), (0, float("nan"))):
        assert "start" in refused(path, start_seconds=start, end_seconds=end)
    assert "1.00 s" in refused(path, start_seconds=5.0)
    assert "at least 0.1 s" in refused(path, start_seconds=0.95)
    for seconds in (0, -1, float("nan"), 1e9):
        with pytest.raises(InputError, match="block"):
            stream_audio(path, seconds)


def test_read_has_a_bound_and_stream_has_none(sound_file: Maker, voice: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "LONGEST_SECONDS", 2.0)
    path = sound_file("a.wav", voice(0, 3.5))
    with pytest.raises(InputError, match="at most 2 s"):
        read_audio(path)
    assert len(read_audio(path, start_seconds=1, end_seconds=3)) == 32_000
    assert sum(map(len, stream_audio(path))) == 56_000


def test_a_video_without_sound(video_file: Maker) -> None:
    assert "without one" in refused(video_file("a.mp4", sound=False))


def test_a_video_without_pyav_is_one_sentence(video_file: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    path = video_file("a.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(
        MissingExtra, match=r"needs PyAV \(0.1 GB; or convert the file to WAV or FLAC\): \S*pip install .*\[media\]'$"
    ):
        read_audio(path)


def test_blocks_of_another_shape() -> None:
    convert = resampler(48_000, 2)
    for wrong in (np.zeros((10, 3), np.float32), np.zeros(10, np.float32), np.zeros((1, 2, 3), np.float32)):
        with pytest.raises(InputError, match="2 channels"):
            convert.push(wrong)
    with pytest.raises(InputError, match="channel"):
        resampler(48_000, 0)


def test_importing_it_is_light() -> None:
    code = "import sys, edge_lupi.sound.audio; print(sorted({'soundfile', 'soxr', 'av', 'torch'} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_real_recordings(data_root: Path) -> None:
    emotion = read_audio(data_root / "ravdess_av/audio/actor_01/03-01-01-01-01-01-01.flac")
    assert len(emotion) == 52_853
    assert 0.001 < np.abs(emotion).max() <= 1
    film = read_audio(data_root / "grid_s1_av/multi_speaker_originals/lwbsza.mpg", start_seconds=1, end_seconds=2)
    assert film.shape == (16_000,)
    assert np.std(film) > 0.001


@pytest.mark.parametrize("block", [100, 1600, 48_000])
def test_channels_that_cancel_are_heard_and_said(voice: Maker, block: int) -> None:
    spoken = voice(0, 3.0)
    said = list[str]()
    convert = resampler(16_000, 2, notice=said.append)
    swapped = np.stack([spoken, -0.9 * spoken], axis=1)
    heard = np.concatenate([convert.push(swapped[at : at + block]) for at in range(0, len(swapped), block)])
    np.testing.assert_array_equal(heard[1600:], spoken[1600:])
    (sentence,) = said
    assert "2 that cancel each other: channel 0 alone is heard" in sentence


def test_channels_of_different_sounds_or_one_that_is_silent_do_not_cancel(voice: Maker) -> None:
    one, other = voice(0, 2.0), voice(1, 2.0)
    for channels in ([one, other], [one, 0 * one], [one, one], [one, -0.3 * one], [0 * one, 0 * one]):
        said = list[str]()
        convert = resampler(16_000, 2, notice=said.append)
        convert.push(np.stack(channels, axis=1).astype(np.float32))
        assert said == []


def test_a_constant_is_taken_out(sound_file: Maker, voice: Maker) -> None:
    spoken = 0.3 * voice(0, 2.0)
    plain = read_audio(sound_file("a.wav", spoken, subtype="FLOAT"))
    np.testing.assert_allclose(read_audio(sound_file("b.wav", spoken + 0.1, subtype="FLOAT")), plain, atol=1e-5)


def test_the_sound_of_a_video_begins_where_the_file_says(tmp_path: Path, voice: Maker) -> None:
    from fractions import Fraction

    import av

    read = {}
    for late_seconds in (0.0, 0.8):
        path = tmp_path / f"{late_seconds}.mkv"
        with av.open(str(path), "w") as container:
            pictures, sound = container.add_stream("mpeg4", rate=25), container.add_stream("pcm_s16le", rate=16_000)
            pictures.width, pictures.height, pictures.pix_fmt, sound.layout = 32, 32, "yuv420p", "mono"
            for index in range(50):
                grey = av.VideoFrame.from_ndarray(np.full((32, 32), 100, np.uint8), format="gray")
                grey.pts, grey.time_base = index, Fraction(1, 25)
                container.mux(pictures.encode(grey.reformat(format="yuv420p")))
            container.mux(pictures.encode(None))
            pcm = (voice(0, 1.0) * 32767).astype(np.int16)[None]
            spoken = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
            spoken.sample_rate, spoken.time_base, spoken.pts = 16_000, Fraction(1, 16_000), round(16_000 * late_seconds)
            container.mux(sound.encode(spoken))
            container.mux(sound.encode(None))
        read[late_seconds] = read_audio(path)
    assert len(read[0.8]) - len(read[0.0]) == pytest.approx(12_800, abs=16)
    assert np.abs(read[0.8][:12_700]).max() < 1e-3
    window = read_audio(tmp_path / "0.8.mkv", start_seconds=1.0, end_seconds=1.5)
    np.testing.assert_allclose(window, read[0.8][16_000:24_000], atol=5e-3)
