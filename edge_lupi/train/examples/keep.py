"""Cache files: what took long to find, kept beside a training's results. bytes -> a file, at once or not at all."""

from __future__ import annotations

from pathlib import Path

from edge_lupi.disk import write_at_once, writing

__all__ = ["keep"]


def keep(path: Path, data: bytes) -> None:
    """Write the file, its folder too. Raises InputError where there is no room or no right to."""
    with writing(path, "free some space or choose another folder", options=("out",)):
        write_at_once(path, data)
