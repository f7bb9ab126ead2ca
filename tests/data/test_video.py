"""Exactly N grey frames, the right ones, of the right part of the picture."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lupi.data.video import read_frames
from edge_lupi.errors import InputError, MissingExtra

Maker = Callable[..., Any]  # a fixture of conftest.py


def greys(frames: np.ndarray) -> np.ndarray:
    """The frame numbers that `video_file` painted: grey 16 + 8 * i."""
    return np.round((frames.mean(axis=(1, 2)) - frames[0].mean()) / 8).astype(int)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi"])
def test_every_frame_in_its_place(video_file: Maker, ending: str) -> None:
    frames = read_frames(video_file(f"a.{ending}"), start_seconds=0, end_seconds=1, size=96)
    assert (frames.shape, frames.dtype) == ((25, 96, 96), np.uint8)
    assert np.array_equal(greys(frames), np.arange(25))


@pytest.mark.parametrize(
    ("start", "end", "first"), [(0.4, 0.8, 10), (0.41, 0.81, 10), (0.43, 0.83, 10), (0.44, 0.84, 11)]
)
def test_a_window_starts_with_what_is_seen_then(video_file: Maker, start: float, end: float, first: int) -> None:
    path = video_file("a.mp4")
    whole = read_frames(path, start_seconds=0, end_seconds=1, size=32)
    part = read_frames(path, start_seconds=start, end_seconds=end, size=32)
    assert np.array_equal(part, whole[first : first + 10])


def test_other_rates_repeat_or_leave_out(video_file: Maker) -> None:
    path = video_file("a.mp4")
    whole = read_frames(path, start_seconds=0, end_seconds=1, size=32)
    assert np.array_equal(read_frames(path, start_seconds=0, end_seconds=1, size=32, fps=50), whole.repeat(2, axis=0))
    assert np.array_equal(read_frames(path, start_seconds=0, end_seconds=1, size=32, fps=12.5)[:12], whole[:24:2])


def test_a_short_file_stands_still_at_its_end(video_file: Maker) -> None:
    frames = read_frames(video_file("a.mp4", 0.4), start_seconds=0.2, end_seconds=1.2, size=32)
    assert len(frames) == 25
    assert np.array_equal(greys(frames), np.minimum(np.arange(25), 4))


@pytest.mark.parametrize(("width", "height"), [(96, 96), (360, 288), (288, 360), (64, 320), (16, 16)])
@pytest.mark.parametrize("region", ["whole", "mouth"])
@pytest.mark.parametrize("size", [8, 48, 112])
def test_any_picture_gives_the_size_asked_for(
    video_file: Maker, width: int, height: int, region: str, size: int
) -> None:
    path = video_file("a.mp4", 0.2, width, height, sound=False)
    assert read_frames(path, start_seconds=0, end_seconds=0.2, size=size, region=region).shape == (5, size, size)


def test_regions_are_cut_where_they_say(video_file: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_lupi.data import video

    assert video._square(96, 96, "mouth") == (36, 24, 48)
    assert video._square(288, 360, "whole") == (0, 36, 288)
    top, left, side = video._square(288, 360, "mouth")
    assert (top + side <= 288, left + side <= 360, side) == (True, True, 121)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"region": "ear"}, "mouth, whole"),
        ({"size": 4}, "size"),
        ({"size": 10_000}, "size"),
        ({"end_seconds": 0.0}, "frames"),
        ({"start_seconds": -1.0}, "frames"),
        ({"end_seconds": float("nan")}, "frames"),
        ({"end_seconds": 1e9}, "frames"),
        ({"end_seconds": float("inf")}, "frames"),
        ({"fps": 0.0}, "frames"),
        ({"end_seconds": 0.01}, "frames"),
        ({"start_seconds": 30.0, "end_seconds": 31.0}, "before the end"),
    ],
)
def test_wishes_that_cannot_be(video_file: Maker, change: dict[str, object], words: str) -> None:
    wish = {"start_seconds": 0.0, "end_seconds": 0.4, "size": 32, **change}
    with pytest.raises(InputError, match=words):
        read_frames(video_file("a.mp4", 0.4), **wish)


def test_files_without_pictures(tmp_path: Path, sound_file: Maker, voice: Maker) -> None:
    (tmp_path / "text.mp4").write_text("hello " * 100)
    (tmp_path / "empty.mp4").touch()
    sound = sound_file("a.wav", voice(0, 1.0))
    for path in (tmp_path / "text.mp4", tmp_path / "empty.mp4", tmp_path / "missing.mp4", tmp_path, sound):
        with pytest.raises(InputError, match="expected a video"):
            read_frames(path, start_seconds=0, end_seconds=1, size=32)


def test_a_cut_file(video_file: Maker) -> None:
    path = video_file("a.mp4")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="expected a video"):
        read_frames(path, start_seconds=0, end_seconds=1, size=32)


def test_without_pyav_it_is_one_sentence(video_file: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    path = video_file("a.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra, match=r"pip install .*\[train\]'"):
        read_frames(path, start_seconds=0, end_seconds=1, size=32)


def test_real_mouths(data_root: Path) -> None:
    clip = read_frames(
        data_root / "grid_s1_av/clips/bbaf2n.mp4", start_seconds=1.265, end_seconds=2.265, size=48, region="mouth"
    )
    assert clip.shape == (25, 48, 48)
    assert 5 < clip.std() < 100
    assert np.abs(np.diff(clip.astype(float), axis=0)).mean(axis=(1, 2)).max() > 2  # the mouth moves
    for original in sorted((data_root / "grid_s1_av/multi_speaker_originals").iterdir()):
        assert read_frames(original, start_seconds=1, end_seconds=2, size=88, region="mouth").shape == (25, 88, 88)


@pytest.mark.parametrize(("degrees", "matrix"), [(-90, (0, 1, -1, 0)), (90, (0, -1, 1, 0)), (180, (-1, 0, 0, -1))])
def test_a_phone_that_was_held_sideways_is_seen_upright(
    tmp_path: Path, data_root: Path, degrees: int, matrix: tuple[int, ...]
) -> None:
    import struct

    import av

    with av.open(str(data_root / "grid_s1_av/clips/bbaf2n.mp4")) as container:
        upright = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)][:25]
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as container:
        track = container.add_stream("mpeg4", rate=25)
        track.height, track.width, track.pix_fmt, track.bit_rate = 96, 96, "yuv420p", 2_000_000
        for picture in upright:
            turned = np.ascontiguousarray(np.rot90(picture, -degrees // 90))
            container.mux(track.encode(av.VideoFrame.from_ndarray(turned, format="gray").reformat(format="yuv420p")))
        container.mux(track.encode(None))
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).rotation % 360 == degrees % 360
    seen = read_frames(path, start_seconds=0, end_seconds=1, size=96).astype(float)
    assert np.corrcoef(seen.ravel(), np.stack(upright).astype(float).ravel())[0, 1] > 0.95
