"""However a face lies in the picture, in the crop its eyes are level and in their place."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_lupi.data.aligned import _aligned, aligned_frames
from edge_lupi.data.faces import EYES, FaceFinder
from edge_lupi.data.video import times_of


@pytest.fixture(scope="module")
def finder(face_task: Path) -> Iterator[FaceFinder]:
    found = FaceFinder(face_task)
    yield found
    found.close()


@pytest.mark.parametrize("angle", [0.0, 0.5, -1.2])
@pytest.mark.parametrize("apart", [30.0, 90.0])
@pytest.mark.parametrize("size", [24, 48, 96])
def test_eyes_come_to_their_place(angle: float, apart: float, size: int) -> None:
    middle, across = np.array([160.0, 120.0]), apart / 2 * np.array([np.cos(angle), np.sin(angle)])
    rows, columns = np.mgrid[:240, :320] + 0.5
    grey = np.full((240, 320), 40.0)
    for x, y in (middle - across, middle + across):
        grey += 200 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * (apart / 15) ** 2))
    eyes = np.concatenate([middle - across, middle + across]) / (320, 240, 320, 240)
    crop = _aligned(grey.astype(np.uint8), eyes.astype(np.float32), size).astype(float) - 40
    for half, wanted in ((slice(0, size // 2), 0.3), (slice(size // 2, size), 0.7)):
        bright = crop[:, half].clip(0)
        row, column = np.mgrid[:size, half] + 0.5
        assert (bright * row).sum() / bright.sum() / size == pytest.approx(1 / 3, abs=0.02)
        assert (bright * column).sum() / bright.sum() / size == pytest.approx(wanted, abs=0.02)


def test_a_real_face_in_two_videos(finder: FaceFinder, data_root: Path, other_size: Path) -> None:
    original = data_root / "grid_s1_av" / "multi_speaker_originals" / "lrwp9a.mpg"
    times, crops = times_of(0, 1, 25), []
    for video in (original, other_size):
        eyes = finder.rows(video, times)[:, EYES]
        crops.append(aligned_frames(video, times, eyes, 96))
        for crop in crops[-1][::8]:
            found = finder.row(np.repeat(crop[..., None], 3, 2))[EYES]
            np.testing.assert_allclose(found, [0.3, 1 / 3, 0.7, 1 / 3], atol=0.03)
    assert (crops[0].shape, crops[0].dtype) == ((25, 96, 96), np.uint8)


def test_a_frame_without_a_face_is_black_and_no_other(data_root: Path) -> None:
    clip = data_root / "grid_s1_av" / "multi_speaker_originals" / "lrwp9a.mpg"
    eyes = np.tile(np.float32([0.45, 0.54, 0.6, 0.53]), (10, 1))
    eyes[3:5] = np.nan
    eyes[5] = (-3.0, -3.0, -2.9, -3.0)  # beyond the picture
    crops = aligned_frames(clip, times_of(0, 0.4, 25), eyes, 16)
    assert [bool(crop.any()) for crop in crops] == [True, True, True, False, False, True, True, True, True, True]
