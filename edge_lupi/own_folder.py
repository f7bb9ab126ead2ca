"""The user's own folder of edge-lupi: known speakers, and what was calibrated of the bundles that come with the package."""

from __future__ import annotations

import os
from pathlib import Path

from edge_lupi.errors import InputError

__all__ = ["data_folder"]


def data_folder() -> Path:
    """`$XDG_DATA_HOME/edge-lupi`, or the same under `~/.local/share`; it may not be there yet. Raises InputError without a home."""
    try:
        home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    except RuntimeError as error:  # a user id that the system does not know, as in a container
        raise InputError(
            "expected a home folder, where known speakers are kept, got none for this user: set XDG_DATA_HOME to a folder, or name a file",
            options=("gallery",),
        ) from error
    return Path(home) / "edge-lupi"
