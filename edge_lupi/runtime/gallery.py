"""Known speakers on disk: one JSON file, several unit vectors per person, of one student only.

Reading trusts nothing and bounds everything. Writing goes to a file beside it that is then renamed: never half there.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    def load(cls, path: str | Path, fingerprint: str) -> Gallery:
        """Read the store of the student with this fingerprint; where there is none yet, an empty one."""
        gallery = cls(path, fingerprint)
        if not gallery.path.exists():
            return gallery
        content = _read_json(gallery.path)
        if content.get("fingerprint") != fingerprint:
            raise InputError(
                f"{path} was made with another student, whose voices cannot be compared with this one's: enrol the speakers anew, with --gallery for another file"
            )
        try:
            for name, exemplars in content["people"].items():
                gallery.add(name, np.array(exemplars, np.float32))
        except (InputError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(
                f"{path} is not a store of speakers of this version ({error}): remove it and enrol anew"
            ) from error
        return gallery

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

    def match(self, embedding: Array) -> tuple[str, float] | None:
        """The person nearest to a unit vector [D] and the cosine with their nearest exemplar; None when nobody is known."""
        if not self._people:
            return None
        nearest = {name: float((exemplars @ embedding).max()) for name, exemplars in self._people.items()}
        return max(nearest.items(), key=lambda item: item[1])

    def save(self) -> None:
        """Write the store at once or not at all."""
        people = {name: [[round(float(x), 7) for x in vector] for vector in self._people[name]] for name in self.names}
        content = {"format": FORMAT, "version": VERSION, "fingerprint": self.fingerprint, "people": people}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _replace_file(self.path, json.dumps(content, ensure_ascii=False).encode())
        except OSError as error:
            raise InputError(
                f"could not write {self.path} ({error.strerror or error}): nothing was changed; choose another --gallery"
            ) from error

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
    return content


def _replace_file(path: Path, data: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _check_exemplars(exemplars: Array, dimension: int | None) -> None:
    if exemplars.ndim != 2 or len(exemplars) == 0 or not 1 <= exemplars.shape[1] <= MAX_DIMENSION:
        raise InputError(f"expected exemplars of shape [n, D], got {list(exemplars.shape)}")
    if dimension is not None and exemplars.shape[1] != dimension:
        raise InputError(f"expected exemplars with {dimension} channels as the others have, got {exemplars.shape[1]}")
    if not np.all(np.abs(np.linalg.norm(exemplars, axis=1) - 1) <= UNIT_TOLERANCE):
        raise InputError("expected exemplars that are finite and of length 1")
