"""manifest.json of a bundle: read bounded, its numbers and words checked where they are read. Folder -> bytes -> dict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_lupi.bundle.provenance import Provenance
from edge_lupi.disk import MAX_FILE_BYTES, kind_of, read_bounded
from edge_lupi.errors import BundleError, InputError
from edge_lupi.words import json_value, number, printable

__all__ = [
    "FORMAT",
    "MANIFEST",
    "MAX_MANIFEST_BYTES",
    "VERSION",
    "is_ours",
    "manifest_bytes",
    "parsed_manifest",
]

FORMAT = "edge-lupi bundle"
VERSION = 1
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1 << 22  # the names of 60,000 recordings
MAX_BUNDLE_BYTES = 1 << 28  # all of its files together; our largest student in every precision has a third
MAX_FILES = 64


def manifest_bytes(folder: Path) -> bytes:
    """What manifest.json holds. Raises BundleError where it is no plain file of bounded size."""
    try:
        return read_bounded(folder / MANIFEST, MAX_MANIFEST_BYTES, "a manifest", follow_links=False)
    except InputError as error:
        raise BundleError(
            f"{folder} is not a readable bundle ({MANIFEST} is missing or damaged): compile the student anew ({error})"
        ) from error


def parsed_manifest(data: bytes, file: Path) -> dict[str, Any]:
    """A manifest of this version. Raises BundleError where it is none, or lists more than is read."""
    try:
        manifest = json_value(data)
    except ValueError as error:
        raise BundleError(
            f"{file.parent} is not a readable bundle ({MANIFEST} is missing or damaged): compile the student anew"
        ) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BundleError(f"{file} is not an edge-lupi manifest: expected format {FORMAT!r}")
    if type(manifest.get("version")) is not int or manifest["version"] != VERSION:
        got = printable(str(manifest.get("version")))[:40]
        raise BundleError(
            f"expected bundle version {VERSION}, got {got} in {file.parent}: compile the student with this edge-lupi"
        )
    for key, kind in (("files", dict), ("tasks", dict), ("fingerprint", str)):
        if not isinstance(manifest.get(key), kind) or not manifest[key]:
            raise BundleError(f"{file} lacks {key!r}: compile the student anew")
    try:
        _check_parts(manifest)
    except ValueError as error:
        raise BundleError(f"{file} is not a manifest of this version ({error}): compile it anew") from error
    return manifest


def _check_parts(manifest: Mapping[str, Any]) -> None:
    if len(manifest["fingerprint"]) > 200 or not manifest["fingerprint"].isprintable():
        raise ValueError("expected a fingerprint of at most 200 letters")
    for key in ("student", "precision", "training"):
        if not isinstance(manifest.get(key, {}), dict):
            raise ValueError(f"expected {key!r} to be an object")
    if not _names_files(manifest.get("tensorrt", {})):
        raise ValueError("expected 'tensorrt' to name a file per graph and precision")
    if not _is_words(manifest.get("precision", {}).get("float_layers", [])):
        raise ValueError("expected 'float_layers' to be a list of words")
    Provenance.read(manifest.get("training", {}))
    entries = list(manifest["files"].values())
    sizes = [
        number(entry["bytes"], 0, MAX_FILE_BYTES) for entry in entries if isinstance(entry, dict) and "bytes" in entry
    ]
    if len(sizes) < len(entries) or len(entries) > MAX_FILES or sum(sizes) > MAX_BUNDLE_BYTES:
        raise ValueError(
            f"expected at most {MAX_FILES} files of together at most {MAX_BUNDLE_BYTES} bytes, got {len(entries)} of {sum(sizes):.0f}"
        )


def _is_words(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(word, str) for word in value)


def _names_files(graphs: Any) -> bool:
    return isinstance(graphs, dict) and all(
        isinstance(files, dict) and all(isinstance(name, str) for name in files.values()) for files in graphs.values()
    )


def is_ours(folder: Path) -> bool:
    """Whether a folder's manifest is one of edge-lupi, of any version."""
    try:
        manifest = json_value(manifest_bytes(folder)) if kind_of(folder) == "folder" else None
    except (BundleError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("format") == FORMAT
