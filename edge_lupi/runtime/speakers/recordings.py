"""Enrolment recordings, kept only where that was asked for: FLAC files in a folder beside the gallery.

Samples float32 [T] at 16 kHz in, paths out. The folder and its files are their owner's alone (0700, 0600) and bounded.
Whoever changes anything holds the gallery (`Gallery.changed`), so no two number a recording alike.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import stat
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_lupi.disk import TEMPORARY, write_at_once
from edge_lupi.errors import InputError
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.words import composed, printable

__all__ = ["LONGEST_SECONDS", "Recordings"]

LONGEST_SECONDS = 60.0  # of a recording; with 8 of them all 32 exemplars that a person may have, and more
MOST = 8  # recordings of a person
_PERSON = re.compile(r"[0-9a-f]{32}")
_RECORDING = re.compile(r"[0-9]{6,9}\.flac")


class Recordings:
    """Recordings by name; a name's folder is a hash of it, so no name leads anywhere else.

    `speakers.json` has them in `speakers.json.recordings`. Earlier versions used `speakers.audio`, which a gallery
    `speakers.txt` had too: what lies there is still found and forgotten, and nothing is added.
    """

    def __init__(self, gallery: str | Path) -> None:
        path = Path(os.path.realpath(gallery))
        self.folder = path.parent / f"{path.name}.recordings"
        self._older = path.parent / f"{path.stem}.audio"

    def of(self, name: str) -> list[Path]:
        """The recordings of a person, oldest first."""
        return [
            folder / file
            for folder in reversed(self._folders(name))
            for file in _listed(folder)
            if _RECORDING.fullmatch(file)
        ]

    def add(self, name: str, samples: NDArray[np.float32]) -> Path:
        """Write a recording [T] of a person. Raises InputError, and then it is not there."""
        import soundfile

        packed = io.BytesIO()
        soundfile.write(packed, samples[: round(LONGEST_SECONDS * SAMPLE_RATE_HZ)], SAMPLE_RATE_HZ, format="FLAC")
        folder = self._folders(name)[0]
        try:
            for each in (self.folder, folder):
                _make_private(each)
            path = folder / f"{_next_number(folder):06d}.flac"
            write_at_once(path, packed.getvalue(), mode=0o600)
        except OSError as error:
            raise InputError(
                f"could not keep a recording in {printable(str(self.folder))} ({error.strerror or error}): nobody was enrolled; make room there, or keep no audio",
                options=("keep_audio",),
            ) from error
        return path

    def take_back(self, paths: Iterable[Path]) -> None:
        """Remove what was just added, as far as that goes."""
        for path in paths:
            with suppress(OSError):
                path.unlink()
                path.parent.rmdir()  # where nothing else is there

    def trim(self, name: str) -> None:
        """Keep the newest 8 of a person."""
        with _said(self.folder):
            for path in self.of(name)[:-MOST]:
                path.unlink()

    def forget(self, name: str, but: Collection[Path] = ()) -> None:
        """Remove all recordings of a person but these. Raises InputError where any stays."""
        for folder in self._folders(name):
            with _said(folder):
                if any(path.parent == folder for path in but):
                    for path in [folder / file for file in _listed(folder)]:
                        if path not in but:
                            path.unlink()
                else:
                    _remove(folder)

    def move(self, name: str, to: str) -> None:
        """Recordings of a person are another name's, after those that it has; of both the newest 8 stay."""
        paths = self.of(name)
        if not paths:
            return
        with _said(self.folder):
            folder = self._folders(to)[0]
            for each in (self.folder, folder):
                _make_private(each)
            first = _next_number(folder)
            for number, path in enumerate(paths, first):
                path.rename(folder / f"{number:06d}.flac")
        self.forget(name)
        self.trim(to)

    def tidy(self, names: Iterable[str]) -> None:
        """Remove the recordings of whoever is none of these, and half-written ones: what a killed process has left."""
        known = {_hashed(name) for name in names}
        for folder in [self.folder / entry for entry in _listed(self.folder) if _PERSON.fullmatch(entry)]:
            with _said(folder):
                if folder.name not in known:
                    _remove(folder)
                for file in _listed(folder):
                    if file.startswith(TEMPORARY):
                        (folder / file).unlink()

    def _folders(self, name: str) -> list[Path]:
        """Of a person: where recordings are kept, then where earlier versions did, in whichever Unicode form."""
        forms = dict.fromkeys((composed(name), unicodedata.normalize("NFD", name), name))
        return [self.folder / _hashed(composed(name)), *(self._older / _hashed(form) for form in forms)]


@contextmanager
def _said(folder: Path) -> Iterator[None]:
    """What the system refuses becomes a sentence that says what stays."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"could not remove the recordings in {printable(str(folder))} ({error.strerror or error}): nobody was forgotten; make the folder writable and try again"
        ) from error


def _hashed(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:32]


def _next_number(folder: Path) -> int:
    return max((int(file[:-5]) for file in _listed(folder) if _RECORDING.fullmatch(file)), default=-1) + 1


def _remove(folder: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise InputError(
            f"the recordings in {printable(str(folder))} cannot be looked at ({error.strerror or error}): make the folder readable and try again"
        ) from error


def _make_private(folder: Path) -> None:
    """A folder that is our user's and nobody else enters. Raises InputError where it is somebody else's."""
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.stat()
    if status.st_uid != os.geteuid():
        raise InputError(
            f"expected a folder of user {os.geteuid()} at {printable(str(folder))}, got one of user {status.st_uid}, who could listen: nobody was enrolled; choose another gallery, or keep no audio",
            options=("gallery", "keep_audio"),
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        folder.chmod(0o700)
