"""Files of a training: results, and what took long to find, kept in its folder. bytes -> a file, at once or not at all."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from edge_lupi.disk import write_at_once, writing

__all__ = ["keep", "keeping"]


def keep(path: Path, data: bytes) -> None:
    """Write the file, its folder too. Raises InputError where there is no room or no right to."""
    with keeping(path):
        write_at_once(path, data)


def keeping(path: Path) -> AbstractContextManager[None]:
    """Around what writes a file of a training, or into its folder: InputError as `keep` has it."""
    return writing(path, "free some space or choose another folder", options=("out",))
