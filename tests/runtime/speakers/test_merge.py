"""A person gets another name, or two names are one person: all that is known goes along, or nothing changes."""

from pathlib import Path

import numpy as np
import pytest

from edge_lupi.errors import InputError
from edge_lupi.runtime.speakers.averages import VoiceSoFar
from edge_lupi.runtime.speakers.gallery import Gallery


def test_somebody_is_called_by_another_name(tmp_path: Path) -> None:
    path = tmp_path / "speakers.json"
    with Gallery.changed(path, "s") as gallery:
        gallery.add("ann", np.eye(4, dtype=np.float32)[:2], narrow_band=True)
        gallery.sounds("ann", "m", VoiceSoFar(2.0, np.ones(3, np.float32)))
        gallery.add("bob", np.eye(4, dtype=np.float32)[2:])
    with Gallery.changed(path) as gallery:
        assert gallery.rename("ann", "Zoe\u0308") == "Zo\xeb"
    known = Gallery.load(path)
    assert known.names == ["Zo\xeb", "bob"]
    assert (known.narrow_band("Zo\xeb"), known.averages("m")["Zo\xeb"].clips) == (True, 2.0)
    assert known.match(np.eye(4, dtype=np.float32)[0]) == ("Zo\xeb", 1.0)
    for name, new, reason in (("bob", "Zo\xeb", "merge the two"), ("carl", "x", "got 'carl'"), ("bob", "", "name")):
        with pytest.raises(InputError, match=reason), Gallery.changed(path) as gallery:
            gallery.rename(name, new)
    assert Gallery.load(path).names == ["Zo\xeb", "bob"]


def test_two_names_of_one_person_become_one(tmp_path: Path) -> None:
    path = tmp_path / "speakers.json"
    vectors = np.eye(4, dtype=np.float32)
    with Gallery.changed(path, "s") as gallery:
        gallery.add("ann", np.repeat(vectors[:1], 30, 0))
        gallery.add("al", np.repeat(vectors[:1], 20, 0), narrow_band=True)
        gallery.add("bob", vectors[1:2])
        for name, clips, value in (("ann", 1.0, 0.0), ("al", 3.0, 1.0)):
            gallery.sounds(name, "m", VoiceSoFar(clips, np.full(3, value, np.float32)))
    for name, into, reason in (("ann", "ann", "two names"), ("bob", "ann", "got 0.00 between bob and ann")):
        with pytest.raises(InputError, match=reason), Gallery.changed(path) as gallery:
            gallery.merge(name, into)
    with Gallery.changed(path) as gallery:
        assert gallery.merge("al", "ann") == 1.0
    known = Gallery.load(path)
    assert known.names == ["ann", "bob"]
    assert (len(known.exemplars("ann")), known.narrow_band("ann")) == (32, True)
    assert (known.averages("m")["ann"].clips, known.averages("m")["ann"].mean[0]) == (4.0, 0.75)
    with Gallery.changed(path) as gallery:
        gallery.merge("bob", "ann", force=True)
        assert len(gallery.exemplars("ann")) == 32
        assert gallery.match(vectors[1]) == ("ann", 1.0)
