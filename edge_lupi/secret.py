"""Secrets from files: a token or a password that nobody else on this computer can read."""

from __future__ import annotations

from pathlib import Path

from edge_lupi.disk import read_bounded
from edge_lupi.errors import InputError
from edge_lupi.words import printable

__all__ = ["read_secret"]

MOST_BYTES = 4096
OTHERS = 0o027  # what nobody but the owner may; the group may read, as systemd's credentials are


def read_secret(path: Path, what: str) -> str:
    """The first line of a file. Raises InputError, which calls it `what`, where others can read it."""
    text = read_bounded(path, MOST_BYTES, what).decode("utf-8", "replace").split("\n")[0].rstrip("\r")
    mode = path.stat().st_mode & 0o777
    if mode & OTHERS:
        shown = printable(str(path))
        raise InputError(f"expected {what} that others cannot read, got mode {mode:04o}: chmod 600 {shown}")
    return text
