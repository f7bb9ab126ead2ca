"""What took long to find, kept beside a training's results. bytes -> a file, at once or not at all."""

from __future__ import annotations

from pathlib import Path

from edge_lupi.disk import write_at_once
from edge_lupi.errors import InputError

__all__ = ["keep"]


def keep(path: Path, data: bytes) -> None:
    """Write the file, its folder too. Raises InputError where there is no room or no right to."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_at_once(path, data)
    except OSError as error:
        raise InputError(
            f"could not write {path} ({error.strerror}): free some space or choose another --out"
        ) from error
