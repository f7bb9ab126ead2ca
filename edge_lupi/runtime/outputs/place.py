"""Places that a user names for a file that we write: refused before anything is heard where that would cost them something.

Replaced is a file that has an ending of its kind; any other is left alone, and so is one that is read in the same run, by
whatever name.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from edge_lupi.disk import identity, kind_of
from edge_lupi.errors import InputError
from edge_lupi.words import printable

__all__ = ["check_place", "is_one_file"]


def check_place(path: Path, endings: Sequence[str], option: str, read: Sequence[str | Path] = ()) -> None:
    """Raises InputError where a file of this path cannot be written, is one that must stay, or is one of those that are `read`."""
    shown, kind, options = printable(str(path)), kind_of(path), (option,)
    if path.suffix not in endings and (kind in ("folder", "other") or (kind == "file" and path.stat().st_size)):
        raise InputError(
            f"{shown} exists and is not named {endings[0]}, so it is left alone: choose another name", options=options
        )
    if kind in ("folder", "other"):
        raise InputError(
            f"expected a file to write at {shown}, got something else: choose another name", options=options
        )
    if kind_of(path.parent) != "folder" or not os.access(path if kind == "file" else path.parent, os.W_OK):
        raise InputError(
            f"could not write {shown} (no such folder, or no permission): choose another place", options=options
        )
    if kind == "file" and any(kind_of(name) == "file" and is_one_file(path, Path(name)) for name in read):
        raise InputError(
            f"expected a file of its own to write, got {shown}, which is read: choose another name", options=options
        )


def is_one_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, also by a link."""
    there = identity(one)
    return one.resolve() == other.resolve() or (there is not None and there == identity(other))
