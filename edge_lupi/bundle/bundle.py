"""student.lupi, the folder that goes on the device: manifest, graphs, golden vectors, model card.

Reading trusts nothing: names stay inside the folder, sizes are bounded, every file must match its sha256, arrays are
never unpickled. Writing happens in a temporary folder beside the target, whose place it then takes in one step.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edge_lupi.bundle.engines import FOLDER, Built, is_engine_file, is_plain, read_engines
from edge_lupi.bundle.manifest import (
    FORMAT,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    VERSION,
    is_ours,
    manifest_bytes,
    number,
    parsed_manifest,
)
from edge_lupi.bundle.signature import SIGNATURE, check_signature, signature_of
from edge_lupi.disk import TEMPORARY, identity, kind_of, read_checked, unpacked_arrays, write_folder
from edge_lupi.errors import BundleError, InputError
from edge_lupi.frames import Segmentation
from edge_lupi.words import json_text, json_value, printable

__all__ = ["Bundle", "Task", "refuse_to_replace", "shipped_bundle", "write_bundle"]

MAX_GOLDEN_BYTES = 1 << 26  # unpacked; ours have half a megabyte
MAX_LABELS = 10_000
LONGEST_LABEL = 200
MOST_CLIPS = 1000  # that the mean of all voices is worth
ATTEMPTS = 10  # at a bundle that is replaced while it is read
SHIPPED = Path(__file__).resolve().parents[1] / "bundles"
_TASK_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_MADE_HERE = re.compile(rf"calibration\.[a-z][a-z0-9_-]{{0,39}}\.(json|svg)|{re.escape(TEMPORARY)}.*")


@dataclass(frozen=True)
class Task:
    """One thing a student can tell, e.g. who speaks (verification) or in what emotion (classification).

    `threshold` is the cosine above which two voices count as one; `temperature` divides the scores before softmax. Where
    `voice` is above 0, labels are told from how an utterance differs from what its voice was so far: the branch carries
    that on, and `voice` is how many clips the mean of all voices is worth beside it.
    """

    name: str
    kind: str
    labels: tuple[str, ...] = ()
    threshold: float | None = None
    temperature: float = 1.0
    voice: float = field(default=0.0, repr=False)  # a student's fingerprint holds the repr, which stays what it was

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _TASK_NAME.fullmatch(self.name):
            raise InputError(f"expected a task name of lower-case letters, digits and dashes, got {_shown(self.name)}")
        if self.kind not in ("verification", "classification"):
            raise InputError(f"expected task kind verification or classification, got {_shown(self.kind)}")
        if not all(isinstance(label, str) and 0 < len(label) <= LONGEST_LABEL for label in self.labels):
            raise InputError(
                f"expected labels of 1 to {LONGEST_LABEL} letters for task {self.name}, got something else"
            )
        if len(self.labels) > MAX_LABELS or (self.kind == "classification" and len(self.labels) < 2):
            raise InputError(
                f"expected at least two labels and at most {MAX_LABELS} for task {self.name}, got {len(self.labels)}"
            )
        try:
            number(self.threshold or 0.0, -1, 1)
            number(self.temperature, 1e-6, 1e6)
            number(self.voice, 0, MOST_CLIPS if self.kind == "classification" else 0)
        except ValueError as error:
            raise InputError(
                f"task {self.name} has a threshold, temperature or voice that is none ({error})"
            ) from error


@dataclass(frozen=True)
class Bundle:
    """A checked bundle. All of its files are in memory: what was hashed is what runs."""

    path: Path
    manifest: Mapping[str, Any]
    segmentation: Segmentation
    tasks: Mapping[str, Task]
    files: Mapping[str, bytes] = field(repr=False)
    engines: tuple[Built, ...] = ()
    papers: Mapping[str, bytes] = field(default_factory=dict, repr=False)  # the manifest's own bytes, and its signature
    engines_fault: str = ""  # why the list of engines cannot be read; the CPU needs none

    @classmethod
    def load(cls, path: str | Path, signed_by: Path | None = None) -> Bundle:
        """Read and check a bundle folder. Raises BundleError where anything is missing, changed or of another version.

        `signed_by`: the public key that must have signed it; engines, which are built later and signed by nobody, are then
        left out. A bundle that another takes the place of meanwhile is read again: the answer is always one whole bundle.
        """
        for _ in range(ATTEMPTS):
            before = identity(Path(path))
            try:
                return cls._read(Path(path), signed_by)
            except BundleError as error:
                refused = error
            if identity(Path(path)) == before:
                break
        raise refused

    @classmethod
    def _read(cls, path: Path, signed_by: Path | None) -> Bundle:
        if _kind(path) == "nothing":
            raise BundleError(
                f"expected a bundle folder, got {path}, which does not exist: make one with edge-lupi compile"
            )
        raw = manifest_bytes(path)
        if signed_by is not None:
            check_signature(path, raw, signed_by)  # before a stranger's words are parsed
        manifest = parsed_manifest(raw, path / MANIFEST)
        try:
            tasks = {name: _task(name, entry) for name, entry in manifest["tasks"].items()}
            segmentation = Segmentation(
                number(manifest["segment_seconds"], 0, 60), number(manifest["hop_seconds"], 0, 60)
            )
        except (InputError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleError(
                f"{path / MANIFEST} is not a manifest of this version ({error}): compile it anew"
            ) from error
        files = {
            n: read_checked(path, n, entry["bytes"], entry.get("sha256")) for n, entry in manifest["files"].items()
        }
        engines, fault = _engines(path / FOLDER) if signed_by is None else ((), "")
        papers = {MANIFEST: raw, **signature_of(path)}
        bundle = cls(path, manifest, segmentation, tasks, files, engines, papers, fault)
        listed = (file for files in bundle.tensorrt_graphs.values() for file in files.values())
        aggregators = (f"aggregator.{task}.onnx" for task in tasks)
        for name in ("front_end.onnx", "encoder.onnx", "golden.npz", *aggregators, *listed):
            bundle.file(name)
        return bundle

    def file(self, name: str) -> bytes:
        """The bytes of one of the bundle's files."""
        if name not in self.files:
            raise BundleError(f"expected {name} in {self.path}, which does not list it: compile the student anew")
        return self.files[name]

    def task(self, name: str | None = None) -> Task:
        """The task of that name; without a name, the bundle's only or first task."""
        if name is None:
            return next(iter(self.tasks.values()))
        if name not in self.tasks:
            raise BundleError(
                f"expected a bundle for task {name}, got {self.path.name}, which knows {', '.join(self.tasks)}"
            )
        return self.tasks[name]

    def golden(self) -> dict[str, NDArray[Any]]:
        """The golden input and what it must give, by name."""
        try:
            return unpacked_arrays(self.file("golden.npz"), MAX_GOLDEN_BYTES)
        except ValueError as error:
            raise BundleError(
                f"golden.npz in {self.path} cannot be read ({error}): compile the student anew"
            ) from error

    @property
    def tensorrt_graphs(self) -> Mapping[str, Mapping[str, str]]:
        """Graph (encoder, aggregator.<task>) -> precision -> file, of what TensorRT builds from; empty without that target."""
        found: Mapping[str, Mapping[str, str]] = self.manifest.get("tensorrt", {})
        return found

    @property
    def fingerprint(self) -> str:
        """Names this student's embedding space: embeddings of two fingerprints must not be compared."""
        return str(self.manifest["fingerprint"])

    @property
    def size_bytes(self) -> int:
        """Bytes of all files listed."""
        return sum(len(data) for data in self.files.values())


def shipped_bundle(task: str) -> Path:
    """Where the bundle that comes with the package lies; `listen` uses it when none is named."""
    path = SHIPPED / f"{task}.lupi"
    if not _TASK_NAME.fullmatch(task) or kind_of(path) != "folder":
        known = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.lupi"))) or "none"
        raise InputError(
            f"no bundle for task {task} comes with edge-lupi (there is: {known}): name one, as in edge-lupi listen my.lupi"
        )
    return path


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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_folder(path, written)
    except OSError as error:
        raise InputError(
            f"could not write {path} ({error.strerror or error}): nothing was changed; free some space or choose another --out"
        ) from error
    return path


def refuse_to_replace(path: Path) -> None:
    """Raise InputError where a bundle must not take this place: it is no bundle's, or holds what edge-lupi did not write."""
    if kind_of(path) == "nothing" and not os.path.lexists(path):
        return
    if not is_ours(path):
        raise InputError(f"{path} exists and is not a bundle: remove it or choose another --out")
    try:
        foreign = _foreign(path)
    except OSError as error:
        raise InputError(f"{path} cannot be looked into ({error.strerror}): choose another --out") from error
    if foreign:
        raise InputError(
            f"{path} is a bundle, but {printable(foreign[0])[:200]} in it is none of its files: move that away or choose another --out"
        )


def _foreign(folder: Path) -> list[str]:
    """Names of what lies in a bundle's folder and is not its own."""
    listed = json_value(manifest_bytes(folder)).get("files")
    own = {MANIFEST, SIGNATURE, *(listed if isinstance(listed, dict) else ())}
    found = []
    for entry in sorted(folder.iterdir()):
        if entry.name == FOLDER and entry.is_dir() and not entry.is_symlink():
            found += [f"{FOLDER}/{inner.name}" for inner in entry.iterdir() if not is_engine_file(inner)]
        elif not (is_plain(entry) and (entry.name in own or _MADE_HERE.fullmatch(entry.name))):
            found.append(entry.name)
    return found


def _engines(folder: Path) -> tuple[tuple[Built, ...], str]:
    """What was built, or why nobody can tell."""
    try:
        return read_engines(folder), ""
    except BundleError as error:
        return (), str(error)


def _kind(path: Path) -> str:
    try:
        return kind_of(path)
    except InputError as error:
        raise BundleError(f"{error}, or name another bundle") from error


def _shown(value: object) -> str:
    return printable(repr(value))[:60]


def _task(name: str, entry: Mapping[str, Any]) -> Task:
    labels, threshold = entry.get("labels", []), entry.get("threshold")
    if not isinstance(labels, list):
        raise ValueError(f"expected a list of labels for task {name[:40]!r}")
    threshold = None if threshold is None else number(threshold, -1, 1)
    temperature = number(entry.get("temperature", 1.0), 1e-6, 1e6)
    return Task(
        name, entry["kind"], tuple(labels), threshold, temperature, number(entry.get("voice", 0.0), 0, MOST_CLIPS)
    )
