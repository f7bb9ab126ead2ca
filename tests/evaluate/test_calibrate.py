"""A threshold from recordings: drawn scores against brute force, and real voices through the command line and the Listener."""

from __future__ import annotations

import json
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from edge_lupi.bundle.bundle import Bundle, shipped_bundle
from edge_lupi.bundle.calibration import Calibration, Point, load_calibration
from edge_lupi.bundle.engines import Device, EngineKey, locked, read_engine, write_engine
from edge_lupi.data.readers.corpora import read_corpus
from edge_lupi.data.splits import split
from edge_lupi.data.utterance import Utterance
from edge_lupi.errors import InputError
from edge_lupi.evaluate.calibrate import calibrated, keep
from edge_lupi.evaluate.impostors import Scores, people_in
from edge_lupi.runtime.enrolment.enrolment import enroll
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.sources.files import SoundFile
from edge_lupi.runtime.speakers.gallery import Gallery
from edge_lupi.sound.audio import read_audio
from edge_lupi.task import Task

Cli = Callable[..., CompletedProcess[str]]
STUDENT: Any = SimpleNamespace(
    task=Task("speaker", "verification"), bundle=SimpleNamespace(fingerprint="s", path=Path("student.lupi"))
)


def drawn(seconds: float, trials: int, people: int, seed: int = 0) -> Scores:
    """Impostors around 0.1, targets around 0.8."""
    draw = np.random.default_rng(seed)
    targets = np.arange(trials) % 4 == 0
    values = draw.normal(0.1, 0.1, trials) + 0.7 * targets
    return Scores(seconds, values, targets, draw.integers(people, size=trials))


def test_impostors_pass_as_often_as_was_asked() -> None:
    found = calibrated([drawn(1.0, 4000, 50), drawn(3.0, 4000, 50, seed=1)], 0.05, STUDENT)
    fresh = drawn(1.0, 40_000, 50, seed=2)
    assert np.mean(fresh.values[~fresh.targets] >= found.threshold.at(1.0)) == pytest.approx(0.05, abs=0.01)
    for point in found.points:
        assert point.low <= point.threshold <= point.high
        assert (point.impostor_trials, point.false_rejects) == (3000, pytest.approx(0, abs=0.01))
    assert (found.people, found.impostors, found.task) == (1, 50, "speaker")


def test_durations_with_too_few_impostors_for_the_rate_are_left_out() -> None:
    scores = [drawn(1.0, 400, 20), drawn(2.0, 150, 20), drawn(3.0, 40, 20)]
    assert [point.seconds for point in calibrated(scores, 0.01, STUDENT).points] == [1.0, 2.0]
    assert [point.seconds for point in calibrated(scores, 0.001, STUDENT).points] == [1.0]


@pytest.mark.parametrize("rate", [0.0, 1.0, -1.0, float("nan")])
def test_what_is_no_rate(rate: float) -> None:
    with pytest.raises(InputError, match="expected a false accept rate between 0 and 1"):
        calibrated([drawn(1.0, 400, 20)], rate, STUDENT)


def test_one_impostor_is_not_enough() -> None:
    with pytest.raises(InputError, match="at least 2 impostors, got 1"):
        calibrated([drawn(1.0, 400, 1)], 0.01, STUDENT)


def test_people_are_folders_or_files(tmp_path: Path) -> None:
    for name in ("ann/1.wav", "ann/day/2.flac", "bob.wav", "notes.txt", ".hidden.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = people_in(tmp_path)
    assert {name: [file.name for file in files] for name, files in found.items()} == {
        "ann": ["1.wav", "2.flac"],
        "bob.wav": ["bob.wav"],
    }
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "none"):
        with pytest.raises(InputError, match="check the path"):
            people_in(folder)


@pytest.fixture(scope="module")
def readers(data_root: Path) -> tuple[Utterance, ...]:
    """Voices that the shipped student has not learnt from."""
    sides = split(read_corpus(data_root / "librispeech_excerpts"), "held_out", validation_speakers=0.1, seed=0)
    return tuple(u for u in sides.validation if len(read_audio(u.audio)) > 8 * 16_000)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped_bundle("speaker"), tmp_path / "mine.lupi"))


def test_strangers_set_the_threshold_that_listening_uses(
    cli: Cli, readers: tuple[Utterance, ...], bundle: Path, tmp_path: Path
) -> None:
    gallery, strangers = tmp_path / "speakers.json", tmp_path / "strangers"
    for name, utterance in zip(("ann", "bob"), readers[::2], strict=False):
        enroll(name, Bundle.load(bundle), gallery, [SoundFile(utterance.audio)])
    strangers.mkdir()
    for utterance in readers[4:9]:
        (strangers / utterance.audio.name).symlink_to(utterance.audio)
    done = cli("calibrate", bundle, "--impostors", strangers, "--gallery", gallery, "--far", "0.05", "--json")
    assert done.returncode == 0, done.stderr
    assert "bring more recordings" in done.stderr
    found = json.loads(done.stdout)
    assert (found["people"], found["impostors"], found["false_accepts"]) == (2, 5, 0.05)
    assert ElementTree.parse(Path(found["path"]).with_suffix(".svg")).getroot().tag.endswith("svg")

    known = Gallery.load(gallery)
    first = found["points"][0]
    sound = [Block(read_audio(readers[0].audio), 0.0)]
    events = list(Listener(bundle, "speaker", known).listen(iter(sound)))
    assert events[0].threshold == pytest.approx(first["threshold"], abs=0.05)
    assert {event.threshold for event in Listener(bundle, "speaker", known, 0.3).listen(iter(sound))} == {0.3}

    assert Listener(bundle, "speaker", known).doubts == []
    for number in range(4):
        known.add(f"guest {number}", known.exemplars("ann"))
    assert "calibrated against 2 enrolled, now there are 6" in Listener(bundle, "speaker", known).doubts[0]
    assert Listener(bundle, "speaker", known, 0.3).doubts == []  # what was given is not what was calibrated

    content = json.loads(Path(found["path"]).read_text())
    for point in content["points"]:
        point["threshold"] = 1.0
    Path(found["path"]).write_text(json.dumps(content))
    assert "ann" in {event.label for event in events}
    assert "ann" not in {event.label for event in Listener(bundle, "speaker", known).listen(iter(sound))}


def test_trials_set_the_threshold_of_a_copy(
    cli: Cli, readers: tuple[Utterance, ...], bundle: Path, tmp_path: Path
) -> None:
    few = readers[:5]
    lines = [f"{int(a is b)} {a.audio} {b.audio}" for a in few for b in few]
    (tmp_path / "trials.txt").write_text("\n".join(lines))
    words = ("calibrate", bundle, "--trials", tmp_path / "trials.txt", "--far", "0.1", "--out", tmp_path / "copy.lupi")
    done = cli(*words)
    assert done.returncode == 0, done.stderr
    assert "false accepts 10.00% asked, 5 impostors against 1 enrolled" in done.stdout
    assert not list(bundle.glob("calibration*"))
    assert Bundle.load(tmp_path / "copy.lupi").fingerprint == Bundle.load(bundle).fingerprint
    picture = ElementTree.parse(tmp_path / "copy.lupi" / "calibration.speaker.svg").getroot()
    assert len(picture.findall(".//{*}polyline")) >= 4
    again = cli(*words)
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert "choose another (--out)" in again.stderr


@contextmanager
def small_files_only(most_bytes: int) -> Iterator[None]:
    """As on a full disk, a larger file ends in the middle: errno EFBIG in place of ENOSPC."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_copy_is_whole_or_not_there(bundle: Path, tmp_path: Path) -> None:
    key = EngineKey("encoder", "int8", "a" * 64, 16, 256, Device("10.3.0", "8.7", "Orin"))
    with locked(bundle / "engines"):
        write_engine(bundle / "engines", key, bytes(3_000_000))
    student, copy = Bundle.load(bundle), tmp_path / "copies" / "copy.lupi"
    made = Calibration("speaker", student.fingerprint, 0.1, 1, 5, (Point(1.0, 0.5, 0.4, 0.6, 20, None),))
    with small_files_only(2_500_000), pytest.raises(InputError, match=r"could not write .*: free some space"):
        keep(made, "<svg/>", student, copy)
    assert list(copy.parent.iterdir()) == []
    assert keep(made, "<svg/>", student, copy) == copy / "calibration.speaker.json"
    found = Bundle.load(copy)
    assert (found.files, found.engines) == (student.files, student.engines)
    assert read_engine(copy / "engines", found.engines[0]) == bytes(3_000_000)
    assert load_calibration(copy, student.fingerprint, "speaker") == made
    assert (copy / "calibration.speaker.svg").read_text() == "<svg/>"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--trials", "a.txt", "--impostors", "."), "expected either --trials LIST or --impostors DIR, got both"),
        (("--impostors", "."), "got nobody: enrol those who are to be known"),
        (("--impostors", "nowhere"), "expected a folder of recordings at nowhere"),
        (("--trials", "nowhere.txt"), "nowhere.txt"),
    ],
)
def test_what_cannot_be_calibrated_is_one_sentence(
    cli: Cli, bundle: Path, tmp_path: Path, words: tuple[str, ...], reason: str
) -> None:
    (tmp_path / "a.wav").touch()
    done = cli("calibrate", bundle, *words, "--gallery", tmp_path / "none.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1
