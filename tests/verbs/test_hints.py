"""Hints hold as they are printed: what a newcomer types first, and what is typed next because of what was said."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import soundfile

from edge_lupi.bundle.bundle import Bundle, shipped_bundle
from edge_lupi.bundle.calibration import Calibration, Point, load_calibration, save_calibration

TWO_VOICES = Path(__file__).resolve().parents[2] / "examples" / "two_voices.flac"
Cli = Callable[..., CompletedProcess[str]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a conversation in it, and a home of one's own."""
    shutil.copy(TWO_VOICES, tmp_path / "a talk.flac")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(TWO_VOICES.parents[1]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _refused(done: CompletedProcess[str]) -> str:
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    return done.stderr


def test_a_sound_file_where_a_bundle_belongs(cli: Cli, here: Path) -> None:
    for words in (("listen",), ("bench",), ("enroll", "ann")):
        said = _refused(cli(*words, "a talk.flac"))
        assert (
            "expected a bundle (a .lupi folder) or none, got the sound file a talk.flac: --input 'a talk.flac'" in said
        )
    option = shlex.split(said.partition("a talk.flac: ")[2])[:2]
    done = cli("listen", *option)
    assert (done.returncode, len(done.stdout.splitlines()) > 4) == (0, True)
    assert "nobody spoke" not in done.stderr
    assert "listening to" not in done.stderr  # over at once


def test_the_task_of_a_bundle_that_comes_along(cli: Cli, here: Path) -> None:
    assert "asked for by its task (--task)" in _refused(cli("inspect", "emotion"))
    assert "emotion (classification): neutral, calm" in cli("inspect", "--task", "emotion").stdout
    said = _refused(cli("listen", shipped_bundle("emotion"), "--task", "mood", "--input", "a talk.flac"))
    assert "which knows emotion: ask for that, or leave the task out (--task)" in said
    assert "got the file a talk.flac: check the path" in _refused(cli("inspect", "a talk.flac"))
    assert "edge-lupi compile makes a bundle of a student" in _refused(cli("inspect", _touched(here / "a.pt")))


def _touched(path: Path) -> Path:
    path.touch()
    return path


def test_evaluate_names_what_it_lacks(cli: Cli, here: Path) -> None:
    assert "name it with --data CORPUS" in _refused(cli("evaluate"))
    assert "expected a corpus at nowhere" in _refused(cli("evaluate", "--data", "nowhere"))


def test_what_lies_there_already_is_left_alone(cli: Cli, here: Path) -> None:
    before = (here / "a talk.flac").read_bytes()
    for words in (
        ("listen", "--input", "a talk.flac", "--rttm", "a talk.flac"),
        ("speakers", "list", "--gallery", "a talk.flac"),
        ("enroll", "ann", "--input", "a talk.flac", "--gallery", "a talk.flac"),
    ):
        said = _refused(cli(*words))
        assert "remove" not in said
        assert re.search(r"choose another (name|file) \(--(rttm|gallery)\)", said)
    assert (here / "a talk.flac").read_bytes() == before


def test_where_nobody_speaks_that_is_said(cli: Cli, here: Path) -> None:
    noise = 0.01 * np.random.default_rng(0).standard_normal(16_000 * 3)
    soundfile.write("noise.wav", noise, 16_000)
    soundfile.write("zeros.wav", 0 * noise, 16_000)
    assert cli("listen", "--input", "noise.wav").stderr.startswith("nobody spoke in these 3.0 s\n")
    assert "no sound at all (a microphone may be muted;" in cli("listen", "--input", "zeros.wav").stderr
    assert ": nobody spoke; come closer" in _refused(cli("enroll", "ann", "--input", "zeros.wav"))
    done = cli("enroll", "ann", "--input", "noise.wav", "--input", "a talk.flac", "--force")
    assert (done.returncode, "nobody spoke in noise.wav" in done.stderr) == (0, True)


def test_what_goes_on_says_so_and_how_it_ends(cli: Cli, here: Path) -> None:
    soundfile.write("short.wav", soundfile.read("a talk.flac", frames=16_000)[0], 16_000)
    assert "listening to short.wav; Ctrl-C ends\n" in cli("listen", "--paced", "--input", "short.wav").stderr


def test_calibrate_shows_and_undoes_what_it_keeps(cli: Cli, here: Path) -> None:
    """Of a bundle that comes with the package in the user's own folder, so that an update keeps it."""
    bundle = Bundle.load(shipped_bundle("speaker"))
    point = Point(2.0, 0.61, 0.55, 0.66, 5000, 0.1)
    made = Calibration("speaker", bundle.fingerprint, 0.01, 4, 30, (point, replace(point, seconds=5.0, threshold=0.5)))
    assert "nothing is calibrated, the bundle's own threshold is 0.324" in cli("calibrate").stdout
    file = save_calibration(made, bundle.path, "<svg/>")
    assert file == here / "home" / "edge-lupi" / "calibration.speaker.json"
    assert cli("calibrate").stdout.splitlines()[0] == made.text().splitlines()[0]
    assert json.loads(cli("calibrate", "--json").stdout)["calibration"]["people"] == 4
    inspected = cli("inspect").stdout
    assert "calibrated speaker: false accepts 1.00% asked, thresholds 0.500 to 0.610" in inspected
    assert "edge-lupi calibrate --undo takes it away" in inspected
    assert json.loads(cli("inspect", "--json").stdout)["calibrations"]["speaker"]["impostors"] == 30
    assert "the bundle's own threshold is 0.324" in cli("calibrate", "--undo").stdout
    assert list(file.parent.iterdir()) == []
    assert "nothing was calibrated" in cli("calibrate", "--undo").stdout


def test_after_an_update_an_old_calibration_is_passed_over(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    bundle = Bundle.load(shipped_bundle("speaker"))
    made = Calibration("speaker", "of an older one", 0.01, 4, 30, (Point(2.0, 0.6, 0.5, 0.7, 5000),))
    save_calibration(made, bundle.path, "<svg/>")
    assert load_calibration(bundle.path, bundle.fingerprint, "speaker") is None
    assert "calibrate anew, or undo it with edge-lupi calibrate --undo" in caplog.text


def test_slips_of_a_newcomer(cli: Cli, here: Path) -> None:
    """Two words without quotes, a blank behind a comma, a folder for its files, recordings for a model."""
    said = _refused(cli("enroll", "Ann", "O'Hara", "--input", "a talk.flac"))
    assert 'got "O\'Hara": a name of two words goes into quotes, ' in said
    assert shlex.split(said.rpartition("quotes, ")[2]) == ["Ann O'Hara"]
    said = _refused(cli("listen", "--task", "speaker,", "emotion", "--input", "a talk.flac"))
    assert "expected words with commas and no blanks between, as in a,b, got 'speaker,'" in said
    (here / "ann").mkdir()
    shutil.copy("a talk.flac", "ann")
    assert "got a folder: name the files in it" in _refused(cli("listen", "--input", "ann"))
    assert "got the folder ann: --data ann measures on it" in _refused(cli("evaluate", "ann"))
    assert "say with a pattern what they are called" in _refused(cli("evaluate", "--data", "ann"))


def test_an_option_where_a_value_belongs(cli: Cli, here: Path) -> None:
    for typed in (("listen", "--srt", "--input", "a talk.flac"), ("speakers", "list", "--gallery", "--json")):
        done = cli(*typed)
        assert (done.returncode, done.stdout) == (2, "")
        option, following = typed[-2:] if typed[0] == "speakers" else typed[1:3]
        assert f"'{option}'" in done.stderr
        assert f"expected a value, got the next option, {following}" in done.stderr
    assert not (here / "--input").exists()
