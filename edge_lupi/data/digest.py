"""SHA-256 of files, each read once per process: path -> hex digest, kept in memory by path, size and time of change."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from edge_lupi.errors import InputError

__all__ = ["file_digest"]

PIECE_BYTES = 1 << 20


def file_digest(path: Path) -> str:
    """sha256 of what lies in a file."""
    try:
        status = path.stat()
        return _file_sha256(str(path), status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise InputError(f"expected a file at {path}, got {error.strerror}: check the path") from error


@lru_cache(maxsize=1 << 20)
def _file_sha256(path: str, size: int, changed_ns: int) -> str:
    found = hashlib.sha256()
    with open(path, "rb", opener=_plainly) as file:
        while piece := file.read(PIECE_BYTES):
            found.update(piece)
    return found.hexdigest()


def _plainly(path: str, flags: int) -> int:
    """A pipe is not waited for."""
    return os.open(path, flags | os.O_NONBLOCK)
