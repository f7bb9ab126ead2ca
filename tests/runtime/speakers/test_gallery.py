import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from edge_lupi.disk import temporary_prefix
from edge_lupi.errors import InputError
from edge_lupi.runtime.speakers.gallery import Gallery, default_gallery_path
from edge_lupi.runtime.speakers.gallery_file import MAX_DIMENSION, MAX_EXEMPLARS
from edge_lupi.vectors import unit


def _units(count: int, seed: int = 0, size: int = 8) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, size))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "speakers.json"
    gallery = Gallery.load(path, "student-1")
    gallery.add("Zoë", _units(3))
    gallery.add("bob", _units(2, seed=1))
    gallery.save()
    again = Gallery.load(path, "student-1")
    assert again.names == ["Zoë", "bob"]
    np.testing.assert_allclose(again.exemplars("Zoë"), _units(3), atol=1e-6)
    name, cosine = again.match(_units(2, seed=1)[1])
    assert name == "bob"
    assert cosine == pytest.approx(1.0, abs=1e-5)
    assert os.listdir(path.parent) == ["speakers.json"]


def test_an_empty_gallery_matches_nobody(tmp_path: Path) -> None:
    assert Gallery.load(tmp_path / "none.json", "s").match(_units(1)[0]) is None


def test_refuses_the_store_of_another_student(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "s.json", "student-1")
    gallery.add("a", _units(1))
    gallery.save()
    with pytest.raises(InputError, match="another student"):
        Gallery.load(tmp_path / "s.json", "student-2")


def test_keeps_the_newest_exemplars_and_forgets_on_request(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "s.json", "s")
    gallery.add("a", _units(MAX_EXEMPLARS))
    gallery.add("a", _units(1, seed=9))
    assert gallery.exemplars("a").shape == (MAX_EXEMPLARS, 8)
    np.testing.assert_array_equal(gallery.exemplars("a")[-1], _units(1, seed=9)[0])
    gallery.remove("a")
    assert gallery.names == []
    with pytest.raises(InputError, match="nobody"):
        gallery.remove("a")


@pytest.mark.parametrize("name", ["", " a", "a\nb", "x" * 61, "unknown", "Speaker 3", "\x1b[2J"])
def test_refuses_names_that_would_confuse(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="expected a name"):
        Gallery(tmp_path / "s.json", "s").add(name, _units(1))


@pytest.mark.parametrize(
    "exemplars", [np.zeros((1, 8)), np.full((1, 8), np.nan), np.ones((1, 8)), np.zeros((0, 8)), np.ones(8)]
)
def test_refuses_exemplars_that_are_no_unit_vectors(tmp_path: Path, exemplars: np.ndarray) -> None:
    with pytest.raises(InputError, match="expected exemplars"):
        Gallery(tmp_path / "s.json", "s").add("a", exemplars.astype(np.float32))


def _store(**changes: object) -> str:
    return json.dumps({"format": "edge-lupi speakers", "version": 1, "fingerprint": "s", "people": {}, **changes})


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "null",
        "{",
        "[" * 100_000,
        "\x00\xff",
        _store(version=3),
        _store(format="other"),
        _store(people=[1]),
        _store(people={"a": [[1.0, 0.0], [1.0]]}),
        _store(people={"a": [[float("nan"), 1.0]]}),
        _store(people={"a": "text"}),
        _store(people={"a": [[1e999]]}),
        _store(people={"a": [[10**400]]}),
        _store(people={"a": [[1.0]], "b": [[1.0, 0.0]]}),
        _store(people={"a" * 100: [[1.0]]}),
        _store(people={f"p{i}": [[1.0]] for i in range(1001)}),
        _store(version=2, people={"a": "AACAPw=="}),
        _store(version=2, width=1, people={"a": "AACAP"}),
        _store(version=2, width=1, people={"a": "AADAfw=="}),
        _store(version=2, width=2, people={"a": "AACAPw=="}),
        _store(version=2, width=10**400, people={"a": "AACAPw=="}),
        _store(version=2, width=0, people={"a": ""}),
        _store(version=2, width=True, people={"a": "AACAPw=="}),
        _store(version=2, width=1, people={"a": [[1.0]]}),
        _store(version=2, width=1, people={"\ud800": "AACAPw=="}),
        _store(people={"a": [[]] * 200_000}),
        _store(people={"a": [[1] * 4_200_000]}),
        _store(fingerprint=None),
        _store(fingerprint="\x1b[2J"),
        _store(fingerprint="s" * 201),
    ],
    ids=range(31),
)
def test_a_hostile_store_is_one_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(InputError) as caught:
        Gallery.load(path, "s")
    assert "\n" not in str(caught.value)


def test_reads_what_version_1_wrote(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text(_store(people={"Zoë": _units(3).tolist(), "bob": _units(2, seed=1).tolist()}))
    with Gallery.changed(path, "s") as gallery:
        np.testing.assert_allclose(gallery.exemplars("Zoë"), _units(3), atol=1e-6)
    assert json.loads(path.read_bytes())["version"] == 2
    np.testing.assert_allclose(Gallery.load(path, "s").exemplars("bob"), _units(2, seed=1), atol=1e-6)


@pytest.mark.parametrize("version", [1, 2])
def test_as_many_as_there_may_be_are_read_again(tmp_path: Path, version: int) -> None:
    """1,000 people of 32 exemplars each, names as long as may be, at the widest there may be; of version 1 at the shipped width."""
    path, width = tmp_path / "s.json", 128 if version == 1 else MAX_DIMENSION
    gallery, vectors = Gallery(path, "s" * 200), _units(MAX_EXEMPLARS, size=width)
    for number in range(1000):
        gallery.add(f"\U0001f600{'名' * 56}{number:03d}", vectors)
    gallery.save()
    if version == 1:
        exemplars = json.dumps([[round(float(x), 7) for x in vector] for vector in vectors])
        people = ", ".join(f"{json.dumps(name)}: {exemplars}" for name in gallery.names)
        path.write_text(_store().replace('"people": {', f'"people": {{{people}'))
    again = Gallery.load(path)
    assert again.names == gallery.names
    np.testing.assert_allclose(again.exemplars(again.names[-1]), vectors, atol=1e-6)


@pytest.mark.parametrize("fingerprint", ["s" * 201, "\x1b[2J"])
def test_what_could_not_be_read_again_is_not_written(tmp_path: Path, fingerprint: str) -> None:
    gallery = Gallery(tmp_path / "s.json", fingerprint)
    gallery.add("a", _units(1))
    with pytest.raises(InputError, match="expected a student's fingerprint"):
        gallery.save()
    with pytest.raises(InputError, match="expected exemplars of shape"):
        gallery.add("b", _units(1, size=MAX_DIMENSION + 1))
    assert os.listdir(tmp_path) == []


def test_voices_of_another_width_are_one_sentence(tmp_path: Path) -> None:
    gallery = _other(tmp_path, ann=1)
    with pytest.raises(
        InputError, match=r"expected voices of 8 channels as .*, got 16: it was made with another student"
    ):
        gallery.match(_units(1, size=16)[0])
    wide = Gallery(tmp_path / "wide.json", "s")
    wide.add("bob", _units(1, size=16))
    with pytest.raises(InputError, match="expected exemplars with 8 channels"):
        gallery.take(wide)


def test_a_name_is_one_in_every_unicode_form(tmp_path: Path) -> None:
    path, one, other = tmp_path / "s.json", "Zo\xeb", "Zoe\u0308"
    with Gallery.changed(path, "s") as gallery:
        gallery.add(one, _units(1))
        gallery.add(other, _units(2, seed=1))
    assert Gallery.load(path).names == [one]
    assert Gallery.load(path).exemplars(other).shape == (3, 8)
    assert Gallery.load(path).match(_units(1)[0], leave_out=other) is None
    assert Gallery.load(path).only([one, other], tmp_path / "o.json").exemplars(one).shape == (3, 8)
    with pytest.raises(InputError, match="rename or replace them"):
        Gallery.load(path).take(_other(tmp_path, ann=1), renamed={"ann": other})
    with Gallery.changed(path, "s") as gallery:
        gallery.remove(other)
    assert Gallery.load(path).names == []


def test_an_old_store_with_both_forms_is_read_as_one(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text(_store(people={"Zo\xeb": _units(1).tolist(), "Zoe\u0308": _units(2, seed=1).tolist()}))
    assert Gallery.load(path).exemplars("Zo\xeb").shape == (3, 8)


def test_files_of_others_beside_it_stay(tmp_path: Path) -> None:
    """Editors' swap files and settings have names that begin with a dot and the store's own."""
    others = [tmp_path / name for name in (".env.production", ".env.swp", ".env.x.json")]
    for other in others:
        other.write_text("mine")
    with Gallery.changed(tmp_path / "env", "s") as gallery:
        gallery.add("a", _units(1))
    left_by_a_kill = tmp_path / f"{temporary_prefix(tmp_path / 'env')}x"
    left_by_a_kill.write_text("")
    with Gallery.changed(tmp_path / "env", "s") as gallery:
        gallery.add("b", _units(1))
    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / "env"])


def test_a_link_is_written_through(tmp_path: Path) -> None:
    """Else who is removed through the link is still known in the file."""
    there = tmp_path / "there"
    there.mkdir()
    (tmp_path / "s.json").symlink_to(there / "real.json")
    for change in ("add", "remove"):
        with Gallery.changed(tmp_path / "s.json", "s") as gallery:
            gallery.add("a", _units(1)) if change == "add" else gallery.remove("a")
        assert (tmp_path / "s.json").is_symlink()
        assert Gallery.load(there / "real.json").names == (["a"] if change == "add" else [])


@pytest.mark.parametrize("path", ["pipe", "/dev/zero", "x" * 300, "folder", "file/s.json"])
def test_a_store_that_is_no_file_is_one_sentence(tmp_path: Path, path: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError) as caught, Gallery.changed(tmp_path / path, "s") as gallery:
        gallery.add("a", _units(1))
    assert "\n" not in str(caught.value)


def test_a_failed_write_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = Gallery(tmp_path / "s.json", "s")
    gallery.add("a", _units(1))
    gallery.save()
    before = (tmp_path / "s.json").read_bytes()
    gallery.add("b", _units(1, seed=1))
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(InputError, match="No space left"):
        gallery.save()
    assert (tmp_path / "s.json").read_bytes() == before
    assert os.listdir(tmp_path) == ["s.json"]


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(_store())
    with Gallery.changed(tmp_path / "s.json", "s") as gallery:
        gallery.add("a", _units(1))
    assert (tmp_path / "s.json").stat().st_mode & 0o777 == 0o600


def test_a_change_that_fails_is_not_saved(tmp_path: Path) -> None:
    with Gallery.changed(tmp_path / "s.json", "s") as gallery:
        gallery.add("a", _units(1))

    def forget_and_fail() -> None:
        with Gallery.changed(tmp_path / "s.json", "s") as gallery:
            gallery.remove("a")
            gallery.add("", _units(1))

    with pytest.raises(InputError, match="expected a name"):
        forget_and_fail()
    assert Gallery.load(tmp_path / "s.json", "s").names == ["a"]


def test_changes_at_the_same_time_all_count(tmp_path: Path) -> None:
    def add(number: int) -> None:
        with Gallery.changed(tmp_path / "s.json", "s") as gallery:
            gallery.add(f"p{number}", _units(1, seed=number))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Gallery.load(tmp_path / "s.json", "s").names == [f"p{number}" for number in range(8)]


KILLED_WHILE_WRITING = """
import os, random, signal, sys, time
import numpy as np
from edge_lupi.runtime.speakers.gallery import Gallery

path, kills = sys.argv[1], int(sys.argv[2])

def versions():
    names = Gallery.load(path, "s").names
    assert len(names) == 20, names
    return {int(name.split("-")[1]) for name in names}

def write(version):
    with Gallery.changed(path, "s") as gallery:
        gallery.clear()
        for number in range(20):
            gallery.add(f"p{number}-{version}", np.eye(32, dtype=np.float32)[:4])

took = []
for before in range(1, 11):
    began = time.perf_counter()
    write(before)
    took.append(time.perf_counter() - began)
seconds, draw = sorted(took)[5], random.Random(0)
for _ in range(kills):
    child = os.fork()
    if child == 0:
        for version in range(before + 1, 10**9):
            write(version)
    time.sleep(draw.uniform(0, 4 * seconds))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    (found,) = versions()
    assert found >= before, (found, before)
    before = found
print(before)
"""


def test_a_writer_that_is_killed_leaves_a_whole_store(tmp_path: Path) -> None:
    """50 writers, each ended by SIGKILL at a moment of its own: the file is always one of the versions, never an older one."""
    command = [sys.executable, "-c", KILLED_WHILE_WRITING, str(tmp_path / "s.json"), "50"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 30
    with Gallery.changed(tmp_path / "s.json", "s") as gallery:
        assert len(gallery.names) == 20
    assert os.listdir(tmp_path) == ["s.json"]


def _other(tmp_path: Path, fingerprint: str = "s", **people: int) -> Gallery:
    gallery = Gallery(tmp_path / "other.json", fingerprint)
    for name, seed in people.items():
        gallery.add(name, _units(2, seed))
    return gallery


def test_takes_in_the_people_of_another_store(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "s.json", "")
    assert gallery.take(_other(tmp_path, ann=1, bob=2)) == ["ann", "bob"]
    assert gallery.fingerprint == "s"
    with pytest.raises(InputError, match=r"got ann, bob: rename or replace them"):
        gallery.take(_other(tmp_path, ann=3, bob=4, carl=5))
    assert gallery.names == ["ann", "bob"]
    assert gallery.take(_other(tmp_path, ann=3), renamed={"ann": "eve"}) == ["eve"]
    assert gallery.take(_other(tmp_path, bob=4), replace=True) == ["bob"]
    np.testing.assert_array_equal(gallery.exemplars("bob"), _units(2, 4))
    np.testing.assert_array_equal(gallery.exemplars("ann"), _units(2, 1))


@pytest.mark.parametrize(
    ("renamed", "reason"),
    [({"ann": "bob"}, "got bob"), ({"nobody": "x"}, "'nobody'"), ({"ann": "unknown"}, "expected a name")],
)
def test_names_that_would_clash_are_refused(tmp_path: Path, renamed: dict[str, str], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Gallery(tmp_path / "s.json", "").take(_other(tmp_path, ann=1, bob=2), renamed=renamed)


def test_people_of_another_student_are_not_taken_in(tmp_path: Path) -> None:
    gallery = _other(tmp_path, ann=1)
    with pytest.raises(InputError, match="voices cannot be compared"):
        gallery.take(_other(tmp_path, "another", bob=1))


def test_exports_some_of_its_people(tmp_path: Path) -> None:
    _other(tmp_path, ann=1, bob=2).only(["bob"], tmp_path / "bob.json").save()
    assert Gallery.load(tmp_path / "bob.json").names == ["bob"]
    assert (tmp_path / "bob.json").stat().st_mode & 0o777 == 0o600


def test_may_leave_somebody_out_of_a_match(tmp_path: Path) -> None:
    gallery = _other(tmp_path, ann=1, bob=2)
    voice = _units(2, 1)[0]
    assert gallery.match(voice)[0] == "ann"
    assert gallery.match(voice, leave_out="ann")[0] == "bob"


def test_the_default_place_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_gallery_path() == tmp_path / "edge-lupi" / "speakers.json"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_gallery_path() == tmp_path / ".local" / "share" / "edge-lupi" / "speakers.json"


def test_without_a_home_it_is_said_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 2**31)
    with pytest.raises(InputError, match="set XDG_DATA_HOME to a folder, or name a file"):
        default_gallery_path()


def test_the_nearest_person_is_who_a_loop_over_people_finds(tmp_path: Path) -> None:
    random, gallery = np.random.default_rng(0), Gallery(tmp_path / "people.json", "student")
    voices = [unit(vector) for vector in random.standard_normal((60, 16)).astype(np.float32)]
    assert gallery.match(voices[0]) is None

    def by_loop(voice: np.ndarray, leave_out: str | None) -> str | None:
        cosines = {name: (gallery.exemplars(name) @ voice).max() for name in gallery.names if name != leave_out}
        return max(cosines, key=lambda name: cosines[name], default=None)

    for number in range(12):
        gallery.add(f"{number % 7}", np.stack([unit(v) for v in random.standard_normal((3, 16)).astype(np.float32)]))
        if number == 9:
            gallery.remove("3")
        for voice in voices:
            for leave_out in (None, "0", "6", "nobody"):
                nearest = gallery.match(voice, leave_out=leave_out)
                assert (nearest and nearest[0]) == by_loop(voice, leave_out)
                assert nearest is None or nearest[1] == pytest.approx(
                    (gallery.exemplars(nearest[0]) @ voice).max(), abs=1e-6
                )
