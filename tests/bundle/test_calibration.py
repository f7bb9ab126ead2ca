"""The threshold by seconds of speech, and the file that keeps it: whole, of this student, or one sentence."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_lupi.bundle.calibration import Calibration, Point, load_calibration, save_calibration
from edge_lupi.bundle.threshold import Threshold
from edge_lupi.errors import BundleError, InputError

POINTS = (Point(1.0, 0.5, 0.45, 0.55, 800), Point(2.0, 0.6, 0.5, 0.62, 400), Point(8.0, 0.55, 0.5, 0.6, 90, 0.02))
MADE = Calibration("speaker", "student-1", 0.01, 4, 40, POINTS)


def test_a_threshold_lies_between_its_neighbours() -> None:
    threshold = MADE.threshold
    assert [threshold.at(seconds) for seconds in (0.0, 0.5, 1.0, 2.0, 8.0, 3600.0)] == pytest.approx(
        [0.5, 0.5, 0.5, 0.6, 0.55, 0.55]
    )
    assert threshold.at(2**0.5) == pytest.approx(0.55)
    rising = [threshold.at(1 + step / 10) for step in range(11)]
    assert rising == sorted(rising)
    assert {Threshold.constant(0.4).at(seconds) for seconds in (0.1, 1, 100)} == {0.4}


@pytest.mark.parametrize(
    "points", [(), ((1.0, 0.0),), ((1.0, 1.1),), ((1.0, float("nan")),), ((2.0, 0.5), (1.0, 0.5)), ((0.0, 0.5),)]
)
def test_what_is_no_threshold(points: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(InputError, match="expected a threshold"):
        Threshold(points)


def test_survives_a_restart(tmp_path: Path) -> None:
    assert load_calibration(tmp_path, "student-1", "speaker") is None
    file = save_calibration(MADE, tmp_path, "<svg/>")
    assert file == tmp_path / "calibration.speaker.json"
    assert load_calibration(tmp_path, "student-1", "speaker") == MADE
    assert sorted(os.listdir(tmp_path)) == ["calibration.speaker.json", "calibration.speaker.svg"]


def test_many_more_people_outgrow_it() -> None:
    assert [MADE.outgrown(people) for people in (0, 4, 6)] == [None] * 3
    told = MADE.outgrown(12)
    assert told is not None
    assert "against 4 enrolled, now there are 12" in told
    assert "3.0 times as often as the 1.00%" in told


@pytest.mark.parametrize("changes", [{"fingerprint": "student-2"}, {"task": "other"}])
def test_a_calibration_of_another_student_is_refused(tmp_path: Path, changes: dict[str, str]) -> None:
    file = save_calibration(replace(MADE, **changes), tmp_path, "")
    os.replace(file, tmp_path / "calibration.speaker.json")
    with pytest.raises(
        BundleError, match=r"another student or task: calibrate anew, or undo it with edge-lupi calibrate"
    ):
        load_calibration(tmp_path, "student-1", "speaker")


def _file(**changes: Any) -> str:
    return json.dumps({**MADE.plain(), **changes})


def _point(**changes: Any) -> str:
    points = MADE.plain()["points"]
    return _file(points=[{**points[0], **changes}, *points[1:]])


@pytest.mark.parametrize(
    "content",
    [
        "",
        "null",
        "[]",
        "[" * 60_000,
        _file(version=2),
        _file(format="other"),
        _file(points=[]),
        _file(points="many"),
        _file(points=[{}]),
        _file(points=MADE.plain()["points"] * 40),
        _file(false_accepts=0),
        _file(false_accepts="1e400"),
        _file(people=0),
        _file(impostors=True),
        _point(threshold=2),
        _point(threshold="0.5"),
        _point(threshold=float("nan")),
        _point(seconds=3),
        _point(impostor_trials=1.5),
        " " * (1 << 17) + _file(),
    ],
    ids=range(20),
)
def test_a_hostile_file_is_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "calibration.speaker.json").write_text(content)
    with pytest.raises(BundleError, match="calibrate anew, or undo it") as caught:
        load_calibration(tmp_path, "student-1", "speaker")
    assert "\n" not in str(caught.value)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    file = save_calibration(MADE, tmp_path, "")
    (tmp_path / "bundle" / file.name).symlink_to(file)
    with pytest.raises(BundleError, match="got a link"):
        load_calibration(tmp_path / "bundle", "student-1", "speaker")


def test_a_failed_write_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_calibration(MADE, tmp_path, "<svg/>")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(30, "Read-only file system")))
    with pytest.raises(InputError, match=r"Read-only file system.*a copy of the bundle in another place"):
        save_calibration(replace(MADE, people=5), tmp_path, "<svg/>")
    assert load_calibration(tmp_path, "student-1", "speaker") == MADE


def test_says_how_much_the_rate_can_be_relied_on() -> None:
    assert MADE.doubt is not None
    assert "only with 3000 impostor trials, got 90 of 40 people; so few cannot show a rate below 3.3%" in MADE.doubt
    assert replace(MADE, points=(Point(1.0, 0.5, 0.4, 0.6, 3000),)).doubt is None
    bound = replace(MADE, points=(Point(1.0, 0.5, 0.4, 0.6, 2000),)).doubt
    assert bound is not None
    assert "so few" not in bound
