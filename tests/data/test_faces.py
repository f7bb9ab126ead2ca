"""A face is found in every picture of real clips of any size and rate, told by the same numbers, and none where there is none."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lupi.data.faces import EYES, FEATURES, MOVING, ROW, FaceFinder, face_model, need_mediapipe, segment_features
from edge_lupi.data.video import times_of
from edge_lupi.errors import InputError, MissingExtra

Maker = Callable[..., Any]  # a fixture of conftest.py
JAW_OPEN, YAW, ROLL = 25, 52, 54


@pytest.fixture(scope="module")
def finder(face_task: Path) -> Iterator[FaceFinder]:
    found = FaceFinder(face_task)
    yield found
    found.close()


@pytest.fixture(scope="module")
def original(data_root: Path) -> Path:
    return data_root / "grid_s1_av" / "multi_speaker_originals" / "lrwp9a.mpg"


@pytest.fixture(scope="module")
def rows(finder: FaceFinder, original: Path) -> np.ndarray:
    return finder.rows(original, times_of(0, 1, 25))


def test_every_picture_of_a_real_clip(rows: np.ndarray) -> None:
    assert (rows.shape, rows.dtype) == ((25, ROW), np.float32)
    assert np.isfinite(rows).all()
    assert ((rows[:, :52] >= 0) & (rows[:, :52] <= 1)).all()
    assert np.abs(rows[:, YAW : ROLL + 1]).max() < 0.3  # she looks into the camera
    right, left = rows[:, EYES][:, :2], rows[:, EYES][:, 2:]
    assert (right[:, 0] < left[:, 0]).all()  # her right eye is to the left
    assert ((rows[:, EYES] > 0.3) & (rows[:, EYES] < 0.7)).all()


def test_another_size_and_rate_tell_nearly_the_same(finder: FaceFinder, rows: np.ndarray, other_size: Path) -> None:
    others = finder.rows(other_size, times_of(0, 1, 25))
    assert np.isfinite(others).all()
    assert np.abs(others - rows)[:, EYES].max() < 0.01  # of the picture
    assert np.corrcoef(others[:, JAW_OPEN], rows[:, JAW_OPEN])[0, 1] > 0.8
    for fps in (12, 60):
        assert np.isfinite(finder.rows(other_size, times_of(0, 1, fps))).all()


def test_a_picture_is_told_by_itself(finder: FaceFinder, rows: np.ndarray, original: Path) -> None:
    assert np.array_equal(finder.rows(original, times_of(0.4, 0.8, 25)), rows[10:20])


def test_a_turned_head_is_told(finder: FaceFinder, original: Path) -> None:
    from edge_lupi.data.faces import _rgb
    from edge_lupi.data.video import pictures_at

    picture = next(_rgb(found) for _, found in pictures_at(original, times_of(0, 0.04, 25)))
    upright, mirrored = finder.row(picture), finder.row(np.ascontiguousarray(picture[:, ::-1]))
    assert mirrored[ROLL] == pytest.approx(-upright[ROLL], abs=0.03)
    assert mirrored[YAW] == pytest.approx(-upright[YAW], abs=0.05)
    assert np.isfinite(finder.row(np.repeat(np.repeat(picture, 2, 0), 2, 1))).all()


@pytest.mark.parametrize(("width", "height"), [(16, 16), (96, 96), (320, 64)])
def test_no_face_is_no_number(finder: FaceFinder, video_file: Maker, width: int, height: int) -> None:
    rows = finder.rows(video_file("grey.mp4", 0.2, width, height, sound=False), times_of(0, 0.2, 25))
    assert np.isnan(rows).all()


def test_files_that_are_no_video(finder: FaceFinder, tmp_path: Path, original: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "short.mpg").write_bytes(original.read_bytes()[:60_000])
    os.mkfifo(tmp_path / "pipe.mp4")
    for name in ("text.mp4", "pipe.mp4", "none.mp4"):
        with pytest.raises(InputError, match="expected a video"):
            finder.rows(tmp_path / name, times_of(0, 0.2, 25))
    assert len(finder.rows(tmp_path / "short.mpg", times_of(0, 1, 25))) == 25


def test_a_model_that_is_none(tmp_path: Path, face_task: Path, data_root: Path) -> None:
    (tmp_path / "short.task").write_bytes(face_task.read_bytes()[:100_000])
    (tmp_path / "text.task").write_text("not a model")
    for name in ("short.task", "text.task", "none.task", "."):
        with pytest.raises(InputError, match=r"expected a face_landmarker \.task file.*ai\.google\.dev"):
            FaceFinder(tmp_path / name)


def test_which_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_LUPI_FACE_MODEL", "/of/the/machine.task")
    assert face_model("") == Path("/of/the/machine.task")
    assert face_model("of/the/recipe.task") == Path("of/the/recipe.task")
    monkeypatch.delenv("EDGE_LUPI_FACE_MODEL")
    with pytest.raises(
        InputError, match=r"fetch.*https://ai\.google\.dev.*teacher\.face_model or EDGE_LUPI_FACE_MODEL"
    ):
        face_model("")


def test_without_mediapipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    monkeypatch.setattr("edge_lupi.data.faces.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"edge-lupi with faces needs mediapipe: \S*pip install .*\[video\]'"):
        FaceFinder(tmp_path)


@pytest.mark.parametrize(
    ("found", "fits"), [("0.10.30", True), ("0.10.31", True), ("0.10.35", False), ("1.2.3", False)]
)
def test_a_mediapipe_that_reports_is_refused(monkeypatch: pytest.MonkeyPatch, found: str, fits: bool) -> None:
    monkeypatch.setattr("edge_lupi.data.faces.find_spec", lambda name: True)
    monkeypatch.setattr("edge_lupi.data.faces.version", lambda name: found)
    if fits:
        assert need_mediapipe() == found
    else:
        with pytest.raises(InputError, match=r"below 0\.10\.35, as later ones report to Google, got"):
            need_mediapipe()


def test_it_prints_nothing(face_task: Path, original: Path) -> None:
    code = f"""
from pathlib import Path
from edge_lupi.data.faces import FaceFinder
from edge_lupi.data.video import times_of
finder = FaceFinder(Path({str(face_task)!r}))
finder.rows(Path({str(original)!r}), times_of(0, 0.2, 25))
finder.close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_features_of_segments() -> None:
    rows = np.random.default_rng(0).uniform(size=(20, ROW)).astype(np.float32)
    rows[12:] = np.nan  # the face leaves the picture
    rows[11, 55:58] += 1
    first, second, third, last = segment_features(rows, [0, 5, 11, 12], 8)
    assert first.shape == (FEATURES,)
    assert [f[-1] for f in (first, second, third, last)] == [1, 7 / 8, 1 / 8, 0]
    np.testing.assert_allclose(first[:52], rows[:8, :52].mean(0), rtol=1e-5)
    np.testing.assert_allclose(second[MOVING : MOVING + 52], rows[5:12, :52].std(0), rtol=1e-4)
    assert np.isfinite(third[:MOVING]).all()
    assert np.isnan(third[MOVING:-1]).all()  # one frame has no deviation
    assert np.isnan(last[:-1]).all()


def test_where_the_camera_stands_is_no_feature() -> None:
    rows = np.random.default_rng(0).uniform(size=(20, ROW)).astype(np.float32)
    moved = rows.copy()
    moved[:, 55:58] += (0.3, -0.2, 1.5)
    np.testing.assert_allclose(segment_features(moved, [0, 5], 10), segment_features(rows, [0, 5], 10), atol=1e-5)
