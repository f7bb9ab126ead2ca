"""Known speakers on disk: one JSON file, several unit vectors per person, of one student only.

Reading trusts nothing and bounds everything. Writing goes to a file beside it that is then renamed: never half there.
A voice is as personal as a fingerprint, so the file is its owner's alone (0600).
"""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lupi.disk import locked, write_at_once
from edge_lupi.errors import InputError

__all__ = ["Gallery", "default_gallery_path"]

FORMAT = "edge-lupi speakers"
VERSION = 1
MAX_FILE_BYTES = 1 << 25
MAX_PEOPLE = 1000
MAX_EXEMPLARS = 32
MAX_DIMENSION = 4096
UNIT_TOLERANCE = 1e-3
_RESERVED = re.compile(r"unknown|speaker \d+", re.IGNORECASE)

Array = NDArray[np.float32]


class Gallery:
    """People by name, each with exemplars float32 [n, D] of length one. `match` is all that listening needs."""

    def __init__(self, path: str | Path, fingerprint: str) -> None:
        self.path = Path(path)
        self.fingerprint = fingerprint
        self._people: dict[str, Array] = {}

    @classmethod
    def load(cls, path: str | Path, fingerprint: str | None = None) -> Gallery:
        """Read the store of the student with this fingerprint, or of whichever; where there is none yet, an empty one."""
        gallery = cls(path, fingerprint or "")
        if not gallery.path.exists():
            return gallery
        content = _read_json(gallery.path)
        if fingerprint is not None and content["fingerprint"] != fingerprint:
            raise InputError(
                f"{path} was made with another student, whose voices cannot be compared with this one's: enrol the speakers anew, with --gallery for another file"
            )
        gallery.fingerprint = content["fingerprint"]
        try:
            for name, exemplars in content["people"].items():
                gallery.add(name, np.array(exemplars, np.float32))
        except (InputError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(
                f"{path} is not a store of speakers of this version ({error}): remove it and enrol anew"
            ) from error
        return gallery

    @classmethod
    @contextmanager
    def changed(cls, path: str | Path, fingerprint: str | None = None) -> Iterator[Gallery]:
        """The store, held against other processes and saved at the end; as it was where anything is raised before that."""
        folder = Path(path).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder):
                gallery = cls.load(path, fingerprint)
                yield gallery
                gallery.save()
                _clear_left_overs(gallery.path)
        except OSError as error:
            raise _not_written(Path(path), error) from error

    @property
    def names(self) -> list[str]:
        """Who is known."""
        return sorted(self._people)

    def exemplars(self, name: str) -> Array:
        """The unit vectors of a person, float32 [n, D]."""
        self._check_known(name)
        return self._people[name]

    def add(self, name: str, exemplars: Array) -> None:
        """Add unit vectors [n, D] to a person; the newest 32 are kept. Nothing is on disk before `save`."""
        self.check_name(name)
        _check_exemplars(exemplars, self._dimension())
        if name not in self._people and len(self._people) >= MAX_PEOPLE:
            raise InputError(f"expected at most {MAX_PEOPLE} speakers in {self.path}: remove some first")
        known = self._people.get(name)
        self._people[name] = (exemplars if known is None else np.concatenate([known, exemplars]))[-MAX_EXEMPLARS:]

    @staticmethod
    def check_name(name: str) -> None:
        """Refuse a name that cannot be one."""
        if not (1 <= len(name) <= 60 and name.isprintable() and name == name.strip()) or _RESERVED.fullmatch(name):
            raise InputError(
                f"expected a name of 1 to 60 printable characters other than 'unknown' and 'speaker 1', got {name!r}"
            )

    def remove(self, name: str) -> None:
        """Forget a person. Nothing is on disk before `save`."""
        self._check_known(name)
        del self._people[name]

    def clear(self) -> None:
        """Forget everybody. Nothing is on disk before `save`."""
        self._people = {}

    def take(self, other: Gallery, *, renamed: Mapping[str, str] | None = None, replace: bool = False) -> list[str]:
        """Add everybody of another store of the same student, some by another name; gives the names they have here.

        A name that is here already is refused, or takes the place of the one here with `replace`.
        """
        if self._people and other.fingerprint != self.fingerprint:
            raise InputError(
                f"expected a file of the student of {self.path}, got {other.path} of another, whose voices cannot be compared: enrol the speakers anew"
            )
        renamed = renamed or {}
        for name in renamed:
            other._check_known(name)
        names = [renamed.get(name, name) for name in other.names]
        clashes = sorted({name for name in names if names.count(name) > 1 or (name in self.names and not replace)})
        if clashes:
            raise InputError(
                f"expected names that {self.path} does not have, got {', '.join(clashes[:5])}: pass --rename OLD=NEW, or --replace"
            )
        self.fingerprint = other.fingerprint
        for name, here in zip(other.names, names, strict=True):
            self._people.pop(here, None)
            self.add(here, other.exemplars(name))
        return names

    def only(self, names: list[str], path: str | Path) -> Gallery:
        """Another store, at another path, of these people alone."""
        found = Gallery(path, self.fingerprint)
        for name in names:
            found.add(name, self.exemplars(name))
        return found

    def match(self, embedding: Array, *, leave_out: str | None = None) -> tuple[str, float] | None:
        """The person nearest to a unit vector [D] and the cosine with their nearest exemplar; None when nobody is known."""
        people = self._people.items()
        nearest = {name: float((exemplars @ embedding).max()) for name, exemplars in people if name != leave_out}
        return max(nearest.items(), key=lambda item: item[1], default=None)

    def save(self) -> None:
        """Write the store at once or not at all."""
        people = {name: [[round(float(x), 7) for x in vector] for vector in self._people[name]] for name in self.names}
        content = {"format": FORMAT, "version": VERSION, "fingerprint": self.fingerprint, "people": people}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_at_once(self.path, json.dumps(content, ensure_ascii=False).encode(), mode=0o600)
        except OSError as error:
            raise _not_written(self.path, error) from error

    def _dimension(self) -> int | None:
        return next((exemplars.shape[1] for exemplars in self._people.values()), None)

    def _check_known(self, name: str) -> None:
        if name not in self._people:
            raise InputError(
                f"expected a speaker that {self.path} knows ({', '.join(self.names) or 'nobody'}), got {name!r}"
            )


def default_gallery_path() -> Path:
    """`$XDG_DATA_HOME/edge-lupi/speakers.json`, or the same under `~/.local/share`."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "edge-lupi" / "speakers.json"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file() or path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(
                f"expected a store of speakers of at most {MAX_FILE_BYTES >> 20} MB at {path}, got something else: choose another --gallery"
            )
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not a readable store of speakers: remove it and enrol anew, or choose another --gallery"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or content.get("version") != VERSION:
        raise InputError(f"{path} is not a store of speakers of version {VERSION}: choose another --gallery")
    fingerprint = content.get("fingerprint")
    if not isinstance(fingerprint, str) or not fingerprint.isprintable() or len(fingerprint) > 200:
        raise InputError(f"{path} does not say which student made it: remove it and enrol anew")
    return content


def _not_written(path: Path, error: OSError) -> InputError:
    return InputError(
        f"could not write {path} ({error.strerror or error}): nothing was changed; choose another --gallery"
    )


def _clear_left_overs(path: Path) -> None:
    """What processes that were killed while they wrote have left; nobody else writes while the folder is held."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        with suppress(OSError):
            left.unlink()


def _check_exemplars(exemplars: Array, dimension: int | None) -> None:
    if exemplars.ndim != 2 or len(exemplars) == 0 or not 1 <= exemplars.shape[1] <= MAX_DIMENSION:
        raise InputError(f"expected exemplars of shape [n, D], got {list(exemplars.shape)}")
    if dimension is not None and exemplars.shape[1] != dimension:
        raise InputError(f"expected exemplars with {dimension} channels as the others have, got {exemplars.shape[1]}")
    if not np.all(np.abs(np.linalg.norm(exemplars, axis=1) - 1) <= UNIT_TOLERANCE):
        raise InputError("expected exemplars that are finite and of length 1")
