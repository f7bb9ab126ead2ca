"""Recordings: bounded, their owner's alone, and gone once their speaker is forgotten, whatever happens in between."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import soundfile

from edge_lupi.disk import TEMPORARY
from edge_lupi.errors import InputError
from edge_lupi.runtime.speakers.gallery import Gallery
from edge_lupi.runtime.speakers.recordings import MOST, Recordings

Cli = Callable[..., CompletedProcess[str]]
SILENCE = np.zeros(1600, np.float32)
VOICE = np.eye(4, dtype=np.float32)[:1]
UNPRIVILEGED = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A gallery that knows ann and bob, with two recordings of each."""
    path = tmp_path / "speakers.json"
    with Gallery.changed(path, "s") as gallery:
        for name in ("ann", "bob"):
            gallery.add(name, VOICE)
            gallery.keep(name, SILENCE)
            gallery.keep(name, SILENCE)
    return path


def _kept_before(folder: Path, name: str) -> Path:
    """A recording as earlier versions kept it in `folder`."""
    person = folder / hashlib.sha256(name.encode()).hexdigest()[:32]
    person.mkdir(parents=True, exist_ok=True)
    soundfile.write(person / "000000.flac", SILENCE, 16_000)
    return person / "000000.flac"


def test_are_bounded_and_their_owners_alone(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path / "speakers.json")
    name = "../../etc/passwd"
    for second in range(MOST + 2):
        recordings.add(name, np.full(16_000 * 61, second / 100, np.float32))
    recordings.trim(name)
    kept = recordings.of(name)
    assert len(kept) == MOST
    assert {file.parent.parent for file in kept} == {tmp_path / "speakers.json.recordings"}
    assert {file.stat().st_mode & 0o777 for file in kept} == {0o600}
    assert kept[0].parent.stat().st_mode & 0o777 == kept[0].parent.parent.stat().st_mode & 0o777 == 0o700
    assert soundfile.info(kept[0]).frames == 60 * 16_000
    assert soundfile.read(kept[-1])[0][0] == pytest.approx((MOST + 1) / 100, abs=1e-4)
    recordings.forget(name)
    assert recordings.of(name) == []


def test_a_folder_that_others_may_enter_is_closed(store: Path) -> None:
    folder = Recordings(store).folder
    folder.chmod(0o777)
    with Gallery.changed(store, "s") as gallery:
        gallery.keep("ann", SILENCE)
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_a_folder_of_somebody_else_is_refused(store: Path) -> None:
    os.chown(Recordings(store).folder, 12345, -1)
    before = store.read_bytes()
    gallery = Gallery.load(store)
    gallery.keep("ann", SILENCE)
    with pytest.raises(InputError, match=r"got one of user 12345, who could listen"):
        gallery.save()
    assert store.read_bytes() == before


def test_galleries_of_one_stem_have_folders_of_their_own(tmp_path: Path) -> None:
    for suffix in ("json", "txt"):
        with Gallery.changed(tmp_path / f"a.{suffix}", "s") as gallery:
            gallery.add("ann", VOICE)
            gallery.keep("ann", SILENCE)
    with Gallery.changed(tmp_path / "a.txt", "s") as gallery:
        gallery.remove("ann")
    assert Recordings(tmp_path / "a.txt").of("ann") == []
    assert len(Recordings(tmp_path / "a.json").of("ann")) == 1


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_what_earlier_versions_kept_is_found_and_forgotten(tmp_path: Path, form: str) -> None:
    path = tmp_path / "speakers.json"
    with Gallery.changed(path, "s") as gallery:
        gallery.add("Zo\xeb", VOICE)
    earlier = _kept_before(tmp_path / "speakers.audio", unicodedata.normalize(form, "Zo\xeb"))
    with Gallery.changed(path, "s") as gallery:
        gallery.keep("Zo\xeb", SILENCE)
    assert Recordings(path).of("Zo\xeb")[0] == earlier
    assert len(Recordings(path).of("Zo\xeb")) == 2
    with Gallery.changed(path, "s") as gallery:
        gallery.remove("Zo\xeb")
    assert not earlier.exists()
    assert Recordings(path).of("Zo\xeb") == []


def test_a_removal_that_was_ended_in_its_midst_can_be_finished(cli: Cli, store: Path) -> None:
    for earlier in (Recordings(store).folder, store.with_suffix(".audio")):
        _kept_before(earlier, "carl")  # the gallery no longer knows him
        done = cli("speakers", "remove", "carl", "--gallery", store)
        assert (done.returncode, done.stderr) == (0, "")
        assert Recordings(store).of("carl") == []
    assert cli("speakers", "remove", "carl", "--gallery", store).returncode == 1
    assert [len(Recordings(store).of(name)) for name in ("ann", "bob")] == [2, 2]


def test_recordings_that_cannot_be_removed_leave_their_speaker_known(cli: Cli, store: Path) -> None:
    person, before = Recordings(store).of("ann")[0].parent, store.read_bytes()
    lacking = UNPRIVILEGED if os.geteuid() == 0 else []
    command = [*lacking, sys.executable, "-m", "edge_lupi.cli", "speakers", "remove", "ann", "--gallery", str(store)]
    for mode in (0o500, 0o000):
        person.chmod(mode)
        refused = subprocess.run(command, capture_output=True, text=True, check=False)
        person.chmod(0o700)
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
        assert "try again" in refused.stderr
        assert (store.read_bytes(), len(Recordings(store).of("ann"))) == (before, 2)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "ann is forgotten" in done.stdout
    assert not person.exists()


def test_whoever_takes_a_name_gets_no_recordings_of_the_one_before(store: Path, tmp_path: Path) -> None:
    other = Gallery(tmp_path / "other.json", "s")
    other.add("ann", VOICE)
    with Gallery.changed(store) as gallery:
        gallery.take(other, replace=True)
    assert Recordings(store).of("ann") == []
    _kept_before(store.with_suffix(".audio"), "carl")
    with Gallery.changed(store) as gallery:
        gallery.add("carl", VOICE)
        gallery.keep("carl", SILENCE)
    assert len(Recordings(store).of("carl")) == 1
    with Gallery.changed(store) as gallery:
        gallery.clear()
    assert list(Recordings(store).folder.rglob("*.flac")) == []


def test_recordings_of_one_name_at_once_are_all_kept(store: Path) -> None:
    keep = f"""
import numpy as np
from edge_lupi.runtime.speakers.gallery import Gallery
with Gallery.changed({str(store)!r}) as gallery:
    gallery.keep("ann", np.zeros(1600, np.float32))
"""
    running = [subprocess.Popen([sys.executable, "-c", keep]) for _ in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    assert len(Recordings(store).of("ann")) == 6


def test_a_failed_change_takes_its_recordings_back(store: Path) -> None:
    before = sorted(Recordings(store).folder.rglob("*"))
    gallery = Gallery.load(store)
    gallery.keep("ann", SILENCE)
    gallery.add("carl", VOICE)
    gallery.keep("carl", SILENCE)
    store.unlink()
    store.mkdir()  # nothing can be written in its place
    with pytest.raises(InputError, match="nobody was added"):
        gallery.save()
    assert sorted(Recordings(store).folder.rglob("*")) == before


KILLED = """
import os, random, signal, sys, time
import numpy as np
from pathlib import Path
from edge_lupi.runtime.speakers.gallery import Gallery
from edge_lupi.runtime.speakers.recordings import Recordings

path, kills = Path(sys.argv[1]), int(sys.argv[2])
voice, sound = np.eye(4, dtype=np.float32)[:1], np.random.default_rng(0).standard_normal(16_000).astype(np.float32) / 9

def enrol():
    with Gallery.changed(path, "s") as gallery:
        if "ann" not in gallery.names:
            gallery.add("ann", voice)
            gallery.keep("ann", sound)

def remove():
    with Gallery.changed(path, "s") as gallery:
        if "ann" in gallery.names:
            gallery.remove("ann")

def known():
    return "ann" in Gallery.load(path, "s").names

took = []
for verb in [enrol, remove] * 5:
    began = time.perf_counter()
    verb()
    took.append(time.perf_counter() - began)
seconds, draw, midst = sorted(took)[5], random.Random(0), 0
for number in range(kills):
    verb = (remove, enrol)[number % 2]
    (enrol, remove)[number % 2]()
    child = os.fork()
    if child == 0:
        verb()
        os._exit(0)
    time.sleep(draw.uniform(0, seconds))
    os.kill(child, signal.SIGKILL)
    midst += os.waitpid(child, 0)[1] != 0
    recorded = bool(Recordings(path).of("ann"))
    assert verb is enrol or known() or not recorded, "forgotten, but recorded"
    assert verb is remove or recorded or not known(), "enrolled without the recording"
    verb()
    assert known() == bool(Recordings(path).of("ann")) == (verb is enrol)
remove()
print(midst)
"""


def test_after_a_kill_nobody_is_forgotten_but_recorded(tmp_path: Path) -> None:
    """30 processes, ended by SIGKILL as they enrol or remove: store and recordings agree, and doing it again finishes it."""
    command = [sys.executable, "-c", KILLED, str(tmp_path / "s.json"), "30"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 5
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.name for path in left] == ["s.json"]
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(TEMPORARY)]


def test_recordings_go_with_their_speaker(store: Path) -> None:
    with Gallery.changed(store) as gallery:
        gallery.rename("ann", "anna")
    assert (len(Recordings(store).of("anna")), Recordings(store).of("ann")) == (2, [])
    with Gallery.changed(store) as gallery:
        gallery.merge("bob", "anna")
        gallery.keep("anna", SILENCE)
    kept = Recordings(store).of("anna")
    assert len(kept) == len({path.name for path in kept}) == 5
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}
    assert len(list(Recordings(store).folder.iterdir())) == 1


def test_a_name_that_cannot_be_written_keeps_its_recordings(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [path.read_bytes() for path in (store, *Recordings(store).of("ann"))]

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edge_lupi.runtime.speakers.gallery.write_at_once", full)
    with pytest.raises(InputError, match="No space left"), Gallery.changed(store) as gallery:
        gallery.rename("ann", "anna")
    assert [path.read_bytes() for path in (store, *Recordings(store).of("ann"))] == before
    assert Recordings(store).of("anna") == []
