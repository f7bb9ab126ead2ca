import json
import os
from pathlib import Path

import numpy as np
import pytest

from edge_lupi.errors import InputError
from edge_lupi.runtime.gallery import MAX_EXEMPLARS, Gallery, default_gallery_path


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
        _store(version=2),
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
    ],
    ids=range(17),
)
def test_a_hostile_store_is_one_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(InputError) as caught:
        Gallery.load(path, "s")
    assert "\n" not in str(caught.value)


def test_a_store_that_is_no_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a store"):
        Gallery.load(tmp_path, "s")


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


def test_the_default_place_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_gallery_path() == tmp_path / "edge-lupi" / "speakers.json"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_gallery_path() == tmp_path / ".local" / "share" / "edge-lupi" / "speakers.json"
