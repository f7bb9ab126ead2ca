"""Paths of data that a recipe or a command names: `found_data("mine") -> Path`, here or inside $EDGE_LUPI_DATA."""

from __future__ import annotations

import os
from pathlib import Path

from edge_lupi.disk import kind_of

__all__ = ["found_data", "places_of"]


def found_data(path: str | os.PathLike[str]) -> Path:
    """The first place where something is; where nothing is, the path as it was given."""
    places = places_of(path)
    return next((place for place in places if kind_of(place) != "nothing"), places[0])


def places_of(path: str | os.PathLike[str]) -> list[Path]:
    """A path as it is; a relative one also inside $EDGE_LUPI_DATA, where that is set."""
    base, given = os.environ.get("EDGE_LUPI_DATA"), Path(path)
    return [given] if given.is_absolute() or not base else [given, Path(base) / given]
