"""edge-lupi speakers: who is known, and taking them from one device to another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from edge_lupi.runtime.speakers.gallery import Gallery
from edge_lupi.runtime.speakers.recordings import Recordings

Cli = Callable[..., CompletedProcess[str]]


def _store(path: Path, fingerprint: str = "student-1", **people: list[float]) -> Path:
    gallery = Gallery(path, fingerprint)
    for name, angles in people.items():
        gallery.add(name, np.array([[np.cos(a), np.sin(a)] for a in angles], np.float32))
    gallery.save()
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return _store(tmp_path / "speakers.json", ann=[0.0, 0.2], bob=[1.0])


def _said(done: CompletedProcess[str]) -> str:
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def _refused(done: CompletedProcess[str], reason: str) -> None:
    assert (done.returncode, done.stdout) == (1, "")
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1


def test_list_and_show_for_people_and_for_programs(cli: Cli, store: Path) -> None:
    assert _said(cli("speakers", "list", "--gallery", store)).split() == [
        "ann",
        "2",
        "exemplars",
        "bob",
        "1",
        "exemplar",
    ]
    found = json.loads(_said(cli("speakers", "list", "--gallery", store, "--json")))
    assert found == {"gallery": str(store), "student": "student-1", "speakers": ["ann", "bob"]}
    assert "nearest    bob, cosine 0.70" in _said(cli("speakers", "show", "ann", "--gallery", store))
    found = json.loads(_said(cli("speakers", "show", "ann", "--gallery", store, "--json")))
    assert found.pop("least_cosine") == pytest.approx(np.cos(0.2), abs=1e-4)
    assert found == {"name": "ann", "exemplars": 2, "nearest": {"name": "bob", "cosine": 0.6967}, "narrow_band": False}


def test_nobody_is_known_at_first(cli: Cli, tmp_path: Path) -> None:
    done = cli("speakers", "list", "--gallery", tmp_path / "none.json")
    assert (done.returncode, done.stdout) == (0, "")
    assert "nobody is known" in done.stderr
    _refused(cli("speakers", "show", "ann", "--gallery", tmp_path / "none.json"), "got 'ann'")
    _refused(cli("speakers", "remove", "ann", "--gallery", tmp_path / "none.json"), "got 'ann'")
    assert list(tmp_path.iterdir()) == []


def test_who_is_removed_leaves_no_sound_behind(cli: Cli, store: Path) -> None:
    for name in ("ann", "bob"):
        Recordings(store).add(name, np.zeros(16_000, np.float32))
    _said(cli("speakers", "remove", "ann", "--gallery", store))
    assert Gallery.load(store).names == ["bob"]
    assert Recordings(store).of("ann") == []
    assert len(Recordings(store).of("bob")) == 1


def test_from_one_device_to_another(cli: Cli, store: Path, tmp_path: Path) -> None:
    there = tmp_path / "there.json"
    _said(cli("speakers", "export", tmp_path / "bob.json", "--name", "bob", "--gallery", store))
    _said(cli("speakers", "import", tmp_path / "bob.json", "--gallery", there))
    assert Gallery.load(there, "student-1").names == ["bob"]
    _refused(
        cli("speakers", "import", store, "--gallery", there), "got bob: rename or replace them (--rename, --replace)"
    )
    assert Gallery.load(there).names == ["bob"]
    _said(cli("speakers", "import", store, "--rename", "bob=rob", "--gallery", there))
    assert Gallery.load(there).names == ["ann", "bob", "rob"]
    _said(cli("speakers", "import", store, "--replace", "--gallery", there))
    _refused(cli("speakers", "export", tmp_path / "bob.json", "--gallery", store), "not there yet")


def test_a_file_that_cannot_be_taken_changes_nothing(cli: Cli, store: Path, tmp_path: Path) -> None:
    before = store.read_bytes()
    other = _store(tmp_path / "other.json", "student-2", carl=[0.5])
    (tmp_path / "text.json").write_text("hello")
    for file, reason in (
        (other, "of another"),
        (tmp_path / "text.json", "not a readable"),
        (tmp_path / "no", "got none"),
    ):
        _refused(cli("speakers", "import", file, "--gallery", store), reason)
    _refused(cli("speakers", "import", store, "--rename", "ann", "--gallery", store), "expected --rename OLD=NEW")
    assert store.read_bytes() == before


def test_without_recordings_nobody_is_learnt_again(cli: Cli, store: Path) -> None:
    before = store.read_bytes()
    _refused(cli("speakers", "re-embed", "--gallery", store), "got none of ann, bob: enrol them anew")
    assert store.read_bytes() == before


UNPRIVILEGED = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]


@pytest.mark.parametrize("name", ["locked/x", "x" * 300])
def test_paths_that_may_not_be_looked_at_are_one_sentence(store: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "locked").mkdir(mode=0)
    path, lacking = str(tmp_path / name), UNPRIVILEGED if os.geteuid() == 0 else []
    for words in (
        ("list", "--gallery", path),
        ("remove", "ann", "--gallery", path),
        ("import", path, "--gallery", str(store)),
        ("import", str(store), "--gallery", path),
        ("export", path, "--gallery", str(store)),
    ):
        command = [*lacking, sys.executable, "-m", "edge_lupi.cli", "speakers", *words]
        _refused(subprocess.run(command, capture_output=True, text=True, check=False), "cannot be looked at")


def test_one_name_in_two_forms_is_one_person(cli: Cli, store: Path) -> None:
    _store(store, **{"Zoe\u0308": [0.3]})
    assert json.loads(_said(cli("speakers", "list", "--gallery", store, "--json")))["speakers"] == ["Zo\xeb"]
    _said(cli("speakers", "show", "Zoe\u0308", "--gallery", store))
    assert "Zo\xeb is forgotten; 0" in _said(cli("speakers", "remove", "Zoe\u0308", "--gallery", store))
    assert Gallery.load(store).names == []
