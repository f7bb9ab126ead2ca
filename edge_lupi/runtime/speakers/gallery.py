"""Gallery of known speakers: several unit vectors per person, of one student only, in one file.

A voice is as personal as a fingerprint: the file is its owner's alone (0600), it is written at once or not at all, and
whoever is forgotten in it has no recordings left by then.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_lupi.disk import clear_left_overs, kind_of, locked, write_at_once
from edge_lupi.errors import InputError
from edge_lupi.own_folder import data_folder
from edge_lupi.runtime.speakers.averages import Averages, VoiceSoFar
from edge_lupi.runtime.speakers.gallery_file import (
    MAX_EXEMPLARS,
    MAX_PEOPLE,
    check_exemplars,
    damaged,
    packed,
    read_gallery,
)
from edge_lupi.runtime.speakers.names import checked_name
from edge_lupi.runtime.speakers.recordings import Recordings
from edge_lupi.task import DEFAULT_THRESHOLD
from edge_lupi.words import composed, printable

__all__ = ["Gallery", "default_gallery_path"]

Array = NDArray[np.float32]


class Gallery:
    """People by name, each with exemplars float32 [n, D] of length one. `match` is all that listening needs.

    Names are in Unicode NFC, whichever way they are given.
    """

    def __init__(self, path: str | Path, fingerprint: str) -> None:
        self.path = Path(path)
        self.fingerprint = fingerprint
        self._people: dict[str, Array] = {}
        self._stack: _Stack | None = None  # the same as one array, made for the next match after a change
        self._narrow: set[str] = set()  # whose voice was learnt from telephone speech
        self._averages = Averages()  # of people's voices, to a student with labels
        self._forgotten: set[str] = set()  # whose earlier recordings go with the next save
        self._heard: list[tuple[str, Array]] = []  # recordings that it adds
        self._moved: list[tuple[str, str]] = []  # whose recordings become whose with the next save

    @classmethod
    def open(cls, path: str | Path | None = None, fingerprint: str | None = None) -> Gallery:
        """The known speakers of this file, or of the one that `edge-lupi enroll` writes unless told otherwise."""
        return cls.load(default_gallery_path() if path is None else path, fingerprint)

    @classmethod
    def load(cls, path: str | Path, fingerprint: str | None = None) -> Gallery:
        """Read the store of the student with this fingerprint, or of whichever; where there is none yet, an empty one."""
        gallery = cls(path, fingerprint or "")
        if kind_of(path) == "nothing":
            return gallery
        stored = read_gallery(gallery.path)
        gallery.fingerprint = stored.fingerprint
        if fingerprint is not None:
            gallery.check_student(fingerprint)
        try:
            for name, exemplars in stored.people:
                gallery.add(name, exemplars, narrow_band=name in stored.narrow)
        except (InputError, TypeError, ValueError) as error:
            raise damaged(gallery.path, error) from error
        gallery._forgotten = set()
        gallery._averages = stored.averages.only(gallery.names)
        return gallery

    @classmethod
    @contextmanager
    def changed(cls, path: str | Path, fingerprint: str | None = None) -> Iterator[Gallery]:
        """The store, held against other processes and saved at the end; as it was where anything is raised before that."""
        with _held(Path(path)):
            gallery = cls.load(path, fingerprint)
            yield gallery
            gallery._write(tidy=True)

    @property
    def names(self) -> list[str]:
        """Who is known."""
        return sorted(self._people)

    def __contains__(self, name: object) -> bool:
        return name in self._people

    def exemplars(self, name: str) -> Array:
        """The unit vectors of a person, float32 [n, D]."""
        return self._people[self._known(name)]

    def narrow_band(self, name: str) -> bool:
        """Whether a person's voice was learnt, or some of it, from speech without its upper band, as on a telephone."""
        return self._known(name) in self._narrow

    def averages(self, fingerprint: str) -> Mapping[str, VoiceSoFar]:
        """How people usually sound to the student of this fingerprint, as far as it is known."""
        return self._averages.of(fingerprint)

    def sounds(self, name: str, fingerprint: str, voice: VoiceSoFar) -> None:
        """How a person usually sounds to the student of this fingerprint. Nothing is on disk before `save`."""
        self._averages = self._averages.with_voice(self._known(name), fingerprint, voice)

    def add(self, name: str, exemplars: Array, *, narrow_band: bool = False) -> None:
        """Add unit vectors [n, D] to a person; the newest 32 are kept. Nothing is on disk before `save`."""
        name = checked_name(name)
        check_exemplars(exemplars, self._dimension())
        earlier = self._people.get(name)
        if earlier is None:
            if len(self._people) >= MAX_PEOPLE:
                raise InputError(f"expected at most {MAX_PEOPLE} speakers in {self._shown}: remove some first")
            self._forgotten.add(name)  # recordings of somebody earlier of that name are not theirs
        self._stack = None
        self._people[name] = (exemplars if earlier is None else np.concatenate([earlier, exemplars]))[-MAX_EXEMPLARS:]
        if narrow_band:
            self._narrow.add(name)

    def keep(self, name: str, samples: Array) -> None:
        """Keep a recording [T] of a person. Nothing is on disk before `save`."""
        self._heard.append((self._known(name), samples))

    def remove(self, name: str) -> None:
        """Forget a person, and all recordings of them. Nothing is gone before `save`.

        Also where only recordings are left of them: a removal that was ended in its midst can be finished.
        """
        if not Recordings(self.path).of(name):
            self._known(name)
        self._stack = None
        self._people.pop(composed(name), None)
        self._narrow.discard(composed(name))
        self._averages = self._averages.only(self.names)
        self._heard = [(of, samples) for of, samples in self._heard if of != composed(name)]
        self._forgotten |= {name, composed(name)}

    def rename(self, name: str, new: str) -> str:
        """Call a person by a name that nobody has yet; gives it as it is spelled here. Nothing is on disk before `save`."""
        name, new = self._known(name), checked_name(new)
        if new in self._people:
            raise InputError(
                f"expected a name that nobody has in {self._shown}, got {new}: choose another, or merge the two"
            )
        self._forgotten.add(new)  # recordings of somebody earlier of that name are not theirs
        self._move(name, new)
        return new

    def merge(self, name: str, into: str, *, force: bool = False) -> float:
        """Two names are one person, called `into`; gives their cosine. Unlike voices are refused, unless with `force`."""
        name, into = self._known(name), self._known(into)
        if name == into:
            raise InputError(f"expected two names, got {name} twice: say who else it is")
        likeness = float((self._people[name] @ self._people[into].T).max())
        if likeness < DEFAULT_THRESHOLD and not force:
            raise InputError(
                f"expected two names of one person, whose voices have a cosine of at least {DEFAULT_THRESHOLD}, got {likeness:.2f} between {name} and {into}: check the names, or force it",
                options=("force",),
            )
        self._move(name, into)
        return likeness

    def _move(self, name: str, to: str) -> None:
        """All that is known of somebody is known of somebody else, recordings too once it is saved."""
        moved, there = self._people.pop(name), self._people.get(to)
        self._people[to] = moved if there is None else _joined(there, moved)
        self._narrow = {to if one == name else one for one in self._narrow}
        self._averages = self._averages.moved(name, to)
        self._heard = [(to if of == name else of, samples) for of, samples in self._heard]
        self._moved.append((name, to))
        self._stack = None

    def clear(self) -> None:
        """Forget everybody. Nothing is gone before `save`."""
        for name in self.names:
            self.remove(name)

    def learn_again(self, fingerprint: str, people: Mapping[str, Array]) -> None:
        """Other exemplars [n, D] of the same people, of another student. Nothing is on disk before `save`."""
        for name, exemplars in people.items():
            self._known(name)
            check_exemplars(exemplars, None)
        self.fingerprint, self._stack = fingerprint, None
        self._people = {composed(name): exemplars[-MAX_EXEMPLARS:] for name, exemplars in people.items()}

    def take(self, other: Gallery, *, renamed: Mapping[str, str] | None = None, replace: bool = False) -> list[str]:
        """Add everybody of another store of the same student, some by another name; gives the names they have here.

        A name that is here already is refused, or takes the place of the one here with `replace`.
        """
        if self._people and other.fingerprint != self.fingerprint:
            raise InputError(
                f"expected a file of the student of {self._shown}, got {other._shown} of another, whose voices cannot be compared: enrol the speakers anew"
            )
        renamed = {other._known(old): checked_name(new) for old, new in (renamed or {}).items()}
        names = [renamed.get(name, name) for name in other.names]
        clashes = sorted({name for name in names if names.count(name) > 1 or (name in self.names and not replace)})
        if clashes:
            raise InputError(
                f"expected names that {self._shown} does not have, got {', '.join(clashes[:5])}: rename or replace them",
                options=("rename", "replace"),
            )
        self.fingerprint = other.fingerprint
        for name, here in zip(other.names, names, strict=True):
            if here in self._people:
                self.remove(here)
            self.add(here, other.exemplars(name), narrow_band=other.narrow_band(name))
            if (sounds := other._averages.voices.get(name)) is not None:
                self.sounds(here, other._averages.fingerprint, sounds)
        return names

    def become(self, other: Gallery) -> None:
        """Know whom another store of the same student knows, and nobody else: for one that was read anew from disk."""
        if other._people:
            self.check_student(other.fingerprint)
        self._people, self._narrow, self._stack = dict(other._people), set(other._narrow), None
        self._averages, self._forgotten, self._heard, self._moved = other._averages, set(), [], []

    def only(self, names: list[str], path: str | Path) -> Gallery:
        """Another store, at another path, of these people alone."""
        found = Gallery(path, self.fingerprint)
        for name in dict.fromkeys(self._known(name) for name in names):
            found.add(name, self.exemplars(name), narrow_band=self.narrow_band(name))
        found._averages = self._averages.only(found.names)
        return found

    def match(self, embedding: Array, *, leave_out: str | None = None) -> tuple[str, float] | None:
        """The person nearest to a unit vector [D] and the cosine with their nearest exemplar; None when nobody is known."""
        self.check_width(embedding.shape[-1])
        self._stack = self._stack or _Stack.of(self._people)
        return self._stack.nearest(embedding, None if leave_out is None else composed(leave_out))

    def check_student(self, fingerprint: str) -> None:
        """Refuse a store of another student."""
        if fingerprint != self.fingerprint:
            raise InputError(
                f"{self._shown} was made with another student, whose voices cannot be compared with this one's: enrol the speakers anew, or choose another file",
                options=("gallery",),
            )

    def check_width(self, channels: int) -> None:
        """Refuse voices of another width than those known."""
        width = self._dimension()
        if width not in (None, channels):
            raise InputError(
                f"expected voices of {width} channels as {self._shown} has, got {channels}: it was made with another student; enrol the speakers anew, or choose another file",
                options=("gallery",),
            )

    def save(self) -> None:
        """Write the store at once or not at all; recordings of who was forgotten go first."""
        with _held(self.path):
            self._write()

    def _write(self, *, tidy: bool = False) -> None:
        data, recordings, added = (
            packed(self.fingerprint, self._people, self._narrow, self._averages),
            Recordings(self.path),
            list[Path](),
        )
        target = Path(os.path.realpath(self.path))
        try:
            for name, samples in self._heard:
                added.append(recordings.add(name, samples))  # one by one: what was added is taken back
            for name in sorted(self._forgotten):
                recordings.forget(name, added)
            for name, _ in self._heard:
                recordings.trim(name)
            if tidy:
                recordings.tidy([*self.names, *(name for name, _ in self._moved)])
            write_at_once(target, data, mode=0o600)
        except BaseException as error:
            recordings.take_back(added)
            if isinstance(error, OSError):
                raise _not_written(self.path, error) from error
            raise
        for (
            name,
            to,
        ) in self._moved:  # after the file: whoever is killed in between leaves nobody's sound with anybody else
            recordings.move(name, to)
        self._forgotten, self._heard, self._moved = set(), [], []
        with suppress(OSError):  # the next one may
            clear_left_overs(target)

    @property
    def _shown(self) -> str:
        return printable(str(self.path))

    def _dimension(self) -> int | None:
        return next((exemplars.shape[1] for exemplars in self._people.values()), None)

    def _known(self, name: str) -> str:
        """The name as it is known here. Raises InputError where it is not."""
        found = composed(name)
        if found not in self._people:
            raise InputError(
                f"expected a speaker that {self._shown} knows ({_listed(self.names)}), got {ascii(name)[:200]}"
            )
        return found


@dataclass(frozen=True, eq=False)
class _Stack:
    """All exemplars as one array [N, D], for one product a match: whose they are, and where each one's begin."""

    names: list[str]
    exemplars: Array
    begins: NDArray[np.int64]

    @classmethod
    def of(cls, people: Mapping[str, Array]) -> _Stack:
        """The people of a gallery; there may be none."""
        counts = [len(exemplars) for exemplars in people.values()]
        stacked = np.concatenate(list(people.values())) if people else np.zeros((0, 0), np.float32)
        return cls(list(people), stacked, np.cumsum([0, *counts[:-1]]))

    def nearest(self, voice: Array, left_out: str | None) -> tuple[str, float] | None:
        """The person with the largest cosine to a unit vector [D], but for one; None where there is nobody else."""
        if not self.names or self.names == [left_out]:
            return None
        # row by row: a product of more than 9,216 numbers OpenBLAS shares among all cores, and the waiting costs more than the work
        cosines = np.maximum.reduceat(np.vecdot(self.exemplars, voice), self.begins)
        if left_out in self.names:
            cosines[self.names.index(left_out)] = -np.inf
        best = int(cosines.argmax())
        return self.names[best], float(cosines[best])


def _joined(one: Array, other: Array) -> Array:
    """At most 32 exemplars of both, the newest, and of neither more than half where the other has as many."""
    most = min(len(one), max(MAX_EXEMPLARS - len(other), MAX_EXEMPLARS // 2))
    return np.concatenate([one[len(one) - most :], other[max(0, len(other) - MAX_EXEMPLARS + most) :]])


def default_gallery_path() -> Path:
    """`$XDG_DATA_HOME/edge-lupi/speakers.json`, or the same under `~/.local/share`."""
    return data_folder() / "speakers.json"


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """The folder of a store, made where it is not there, and held against other processes."""
    kind_of(path)
    folder = Path(os.path.realpath(path)).parent
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(folder))
        except OSError as error:
            raise _not_written(path, error) from error
        yield


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more if names else "nobody"


def _not_written(path: Path, error: OSError) -> InputError:
    return InputError(
        f"could not write {printable(str(path))} ({error.strerror or error}): nobody was added, and nobody is forgotten; choose another file"
    )
