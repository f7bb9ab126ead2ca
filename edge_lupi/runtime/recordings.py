"""What people were enrolled with, kept only where that was asked for: FLAC files in a folder beside the gallery.

Samples float32 [T] at 16 kHz in, paths out. The folder and its files are their owner's alone (0700, 0600) and bounded.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_lupi.disk import write_at_once
from edge_lupi.errors import InputError
from edge_lupi.frames import SAMPLE_RATE_HZ

__all__ = ["LONGEST_SECONDS", "Recordings"]

LONGEST_SECONDS = 60.0  # of a recording; with 8 of them all 32 exemplars that a person may have, and more
MOST = 8  # recordings of a person


class Recordings:
    """Recordings by name; a name's folder is a hash of it, so no name leads anywhere else."""

    def __init__(self, gallery: str | Path) -> None:
        self.folder = Path(gallery).with_suffix(".audio")

    def keep(self, name: str, samples: NDArray[np.float32]) -> None:
        """Add a recording [T] of a person; the newest 8 are kept."""
        import soundfile

        packed = io.BytesIO()
        soundfile.write(packed, samples[: round(LONGEST_SECONDS * SAMPLE_RATE_HZ)], SAMPLE_RATE_HZ, format="FLAC")
        try:
            for folder in (self.folder, self._folder(name)):
                folder.mkdir(mode=0o700, exist_ok=True)
            there = self.of(name)
            number = int(there[-1].stem) + 1 if there else 0
            write_at_once(self._folder(name) / f"{number:06d}.flac", packed.getvalue(), mode=0o600)
            for old in self.of(name)[:-MOST]:
                old.unlink()
        except OSError as error:
            raise InputError(
                f"could not keep a recording in {self.folder} ({error.strerror or error}): {name} is enrolled without it"
            ) from error

    def of(self, name: str) -> list[Path]:
        """The recordings of a person, oldest first."""
        return sorted(file for file in self._folder(name).glob("[0-9]*.flac") if file.stem.isdecimal())

    def forget(self, name: str) -> None:
        """Remove the recordings of a person, if there are any."""
        shutil.rmtree(self._folder(name), ignore_errors=True)

    def _folder(self, name: str) -> Path:
        return self.folder / hashlib.sha256(name.encode()).hexdigest()[:32]
