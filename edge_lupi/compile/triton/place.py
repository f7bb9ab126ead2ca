"""A repository's place on the disk: replaced only where it holds what edge-lupi wrote there and nothing else.

Whoever serves it may have changed a configuration, or put models of others beside ours.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_lupi.disk import MAX_FILE_BYTES, TEMPORARY, kind_of, read_bounded
from edge_lupi.errors import InputError
from edge_lupi.words import json_text, json_value, printable

__all__ = ["LIST", "list_bytes", "refuse_to_replace"]

LIST = "edge-lupi.json"
FORMAT = "edge-lupi Triton repository"
MAX_LIST_BYTES = 1 << 20
HINT = "move it away or choose another place"
OPTIONS = ("out",)


def list_bytes(fingerprint: str, files: Mapping[str, bytes]) -> bytes:
    """What says whose repository it is, and every other file's sha256."""
    listed = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    return (json_text({"format": FORMAT, "fingerprint": fingerprint, "files": listed}, indent=2) + "\n").encode()


def refuse_to_replace(path: Path) -> None:
    """Raise InputError where a repository must not take this place: something else is there, or a file of it was changed."""
    if kind_of(path) == "nothing" and not os.path.lexists(path):
        return
    if kind_of(path) != "folder":
        raise InputError(f"{path} exists and is no folder: {HINT}", options=OPTIONS)
    found = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if not _is_folder(file))
    found = [name for name in found if not Path(name).name.startswith(TEMPORARY)]
    if not found:
        return
    listed = _listed(path)
    foreign = next((name for name in found if name != LIST and not _unchanged(path / name, listed.get(name))), None)
    if foreign:
        raise InputError(
            f"{path} is a repository, but {printable(foreign)[:200]} in it is not as it was written: {HINT}",
            options=OPTIONS,
        )


def _is_folder(file: Path) -> bool:
    return file.is_dir() and not file.is_symlink()


def _listed(path: Path) -> dict[str, Any]:
    try:
        content = json_value(read_bounded(path / LIST, MAX_LIST_BYTES, "a list", follow_links=False))
        if content["format"] == FORMAT and isinstance(content["files"], dict):
            return dict(content["files"])
    except (InputError, ValueError, KeyError, TypeError):
        pass
    raise InputError(f"{path} exists and is not a Triton repository that edge-lupi wrote: {HINT}", options=OPTIONS)


def _unchanged(file: Path, sha256: Any) -> bool:
    try:
        data = read_bounded(file, MAX_FILE_BYTES, follow_links=False)
    except InputError:
        return False
    return bool(hashlib.sha256(data).hexdigest() == sha256)
