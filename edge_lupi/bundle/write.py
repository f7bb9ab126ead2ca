"""Write a bundle folder: manifest, files and tasks in, a student.lupi out, at once or not at all.

It happens in a temporary folder beside the target, whose place it then takes in one step.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_lupi.bundle.engines import FOLDER, is_engine_file, is_plain
from edge_lupi.bundle.manifest import (
    FORMAT,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    VERSION,
    is_ours,
    manifest_bytes,
    parsed_manifest,
)
from edge_lupi.bundle.signature import SIGNATURE
from edge_lupi.disk import TEMPORARY, kind_of, write_folder, writing
from edge_lupi.errors import InputError
from edge_lupi.task import Task
from edge_lupi.words import json_text, json_value, printable

__all__ = ["refuse_to_replace", "write_bundle"]

_MADE_HERE = re.compile(rf"calibration\.[a-z][a-z0-9_-]{{0,39}}\.(json|svg)|{re.escape(TEMPORARY)}.*")


def write_bundle(
    path: str | Path,
    manifest: Mapping[str, Any],
    files: Mapping[str, bytes],
    tasks: Mapping[str, Task],
    unlisted: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a bundle folder at once or not at all; an older bundle in that place is replaced, anything else is refused.

    `unlisted` files lie in the folder and are no part of the bundle: what was found out about it on the device.
    """
    path = Path(path)
    refuse_to_replace(path)
    listed = {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in files.items()}
    entries = {
        name: {key: value for key, value in asdict(task).items() if key != "name"} for name, task in tasks.items()
    }
    whole = {"format": FORMAT, "version": VERSION, **manifest, "tasks": entries, "files": listed}
    raw = (json_text(whole, indent=2) + "\n").encode()
    parsed_manifest(raw, path / MANIFEST)  # what could not be read again is not written
    if len(raw) > MAX_MANIFEST_BYTES:
        raise InputError(
            f"expected a manifest of at most {MAX_MANIFEST_BYTES} bytes for {path}, got {len(raw)}: name less of what it was trained on"
        )
    written = {**(unlisted or {}), **files, MANIFEST: raw}
    with writing(path, "nothing was changed; free some space or choose another place", options=("out",)):
        write_folder(path, written)
    return path


def refuse_to_replace(path: Path) -> None:
    """Raise InputError where a bundle must not take this place: it is no bundle's, or holds what edge-lupi did not write."""
    if kind_of(path) == "nothing" and not os.path.lexists(path):
        return
    if not is_ours(path):
        raise InputError(
            f"{path} exists and is not a bundle, so it is left alone: choose another place", options=("out",)
        )
    try:
        foreign = _foreign(path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be looked into ({error.strerror}): choose another place", options=("out",)
        ) from error
    if foreign:
        raise InputError(
            f"{path} is a bundle, but {printable(foreign[0])[:200]} in it is none of its files: move that away or choose another place",
            options=("out",),
        )


def _foreign(folder: Path) -> list[str]:
    """Names of what lies in a bundle's folder and is not its own."""
    listed = json_value(manifest_bytes(folder)).get("files")
    own = {MANIFEST, SIGNATURE, *(listed if isinstance(listed, dict) else ())}
    foreign = []
    for entry in sorted(folder.iterdir()):
        if entry.name == FOLDER and entry.is_dir() and not entry.is_symlink():
            foreign += [f"{FOLDER}/{inner.name}" for inner in entry.iterdir() if not is_engine_file(inner)]
        elif not (is_plain(entry) and (entry.name in own or _MADE_HERE.fullmatch(entry.name))):
            foreign.append(entry.name)
    return foreign
