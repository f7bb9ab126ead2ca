"""student.lupi, the folder that goes on the device: manifest, graphs, golden vectors, model card.

Reading trusts nothing: names stay inside the folder, sizes are bounded, every file must match its sha256, arrays are
never unpickled. Writing happens in a temporary folder beside the target, whose place it then takes in one step.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lupi.disk import identity, read_checked, write_folder
from edge_lupi.engines import FOLDER, Built, read_engines
from edge_lupi.errors import BundleError, InputError
from edge_lupi.frames import Segmentation

__all__ = ["FORMAT", "VERSION", "Bundle", "Task", "shipped_bundle", "write_bundle"]

FORMAT = "edge-lupi bundle"
VERSION = 1
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1 << 20
ATTEMPTS = 10  # at a bundle that is replaced while it is read
SHIPPED = Path(__file__).parent / "bundles"
_TASK_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")


@dataclass(frozen=True)
class Task:
    """One thing a student can tell, e.g. who speaks (verification) or in what emotion (classification).

    `threshold` is the cosine above which two voices count as one; `temperature` divides the scores before softmax.
    """

    name: str
    kind: str
    labels: tuple[str, ...] = ()
    threshold: float | None = None
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not _TASK_NAME.fullmatch(self.name):
            raise InputError(f"expected a task name of lower-case letters, digits and dashes, got {self.name!r}")
        if self.kind not in ("verification", "classification"):
            raise InputError(f"expected task kind verification or classification, got {self.kind!r}")
        if self.kind == "classification" and len(self.labels) < 2:
            raise InputError(f"expected at least two labels for task {self.name}, got {len(self.labels)}")


@dataclass(frozen=True)
class Bundle:
    """A checked bundle. All of its files are in memory: what was hashed is what runs."""

    path: Path
    manifest: Mapping[str, Any]
    segmentation: Segmentation
    tasks: Mapping[str, Task]
    files: Mapping[str, bytes] = field(repr=False)
    engines: tuple[Built, ...] = ()

    @classmethod
    def load(cls, path: str | Path) -> Bundle:
        """Read and check a bundle folder. Raises BundleError where anything is missing, changed or of another version.

        One that another takes the place of meanwhile is read again: the answer is always one whole bundle.
        """
        for _ in range(ATTEMPTS):
            before = identity(Path(path))
            try:
                return cls._read(Path(path))
            except BundleError as error:
                refused = error
            if identity(Path(path)) == before:
                break
        raise refused

    @classmethod
    def _read(cls, path: Path) -> Bundle:
        if not path.exists():
            raise BundleError(
                f"expected a bundle folder, got {path}, which does not exist: make one with edge-lupi compile"
            )
        manifest = _read_manifest(path)
        files = {name: _read_file(path, name, entry) for name, entry in manifest["files"].items()}
        try:
            tasks = {name: _task(name, entry) for name, entry in manifest["tasks"].items()}
            segmentation = Segmentation(float(manifest["segment_seconds"]), float(manifest["hop_seconds"]))
        except (InputError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleError(
                f"{path / MANIFEST} is not a manifest of this version ({error}): compile it anew"
            ) from error
        bundle = cls(path, manifest, segmentation, tasks, files, read_engines(path / FOLDER))
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
            with np.load(io.BytesIO(self.file("golden.npz")), allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except Exception as error:  # numpy, zip and zlib raise many kinds
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
    if not path.is_dir():
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
    if path.exists() and not (path / MANIFEST).is_file():
        raise InputError(f"{path} exists and is not a bundle: remove it or choose another --out")
    listed = {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in files.items()}
    entries = {
        name: {key: value for key, value in asdict(task).items() if key != "name"} for name, task in tasks.items()
    }
    whole = {"format": FORMAT, "version": VERSION, **manifest, "tasks": entries, "files": listed}
    written = {**(unlisted or {}), **files, MANIFEST: (json.dumps(whole, indent=2) + "\n").encode()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_folder(path, written)
    except OSError as error:
        raise InputError(
            f"could not write {path} ({error.strerror or error}): nothing was changed; free some space or choose another --out"
        ) from error
    return path


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    try:
        if file.stat().st_size > MAX_MANIFEST_BYTES:
            raise BundleError(
                f"expected a manifest of at most {MAX_MANIFEST_BYTES} bytes, got {file.stat().st_size} in {file}"
            )
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(
            f"{path} is not a readable bundle ({MANIFEST} is missing or damaged): compile the student anew"
        ) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BundleError(f"{file} is not an edge-lupi manifest: expected format {FORMAT!r}")
    if manifest.get("version") != VERSION:
        raise BundleError(
            f"expected bundle version {VERSION}, got {manifest.get('version')} in {path}: compile the student with this edge-lupi"
        )
    for key, kind in (("files", dict), ("tasks", dict), ("fingerprint", str)):
        if not isinstance(manifest.get(key), kind) or not manifest[key]:
            raise BundleError(f"{file} lacks {key!r}: compile the student anew")
    for key in ("student", "precision", "training"):
        if not isinstance(manifest.get(key, {}), dict):
            raise BundleError(f"expected {key!r} in {file} to be an object: compile the student anew")
    if not _names_files(manifest.get("tensorrt", {})):
        raise BundleError(f"expected 'tensorrt' in {file} to name a file per graph and precision: compile it anew")
    return manifest


def _names_files(graphs: Any) -> bool:
    return isinstance(graphs, dict) and all(
        isinstance(files, dict) and all(isinstance(name, str) for name in files.values()) for files in graphs.values()
    )


def _read_file(folder: Path, name: str, entry: Any) -> bytes:
    if not isinstance(entry, dict):
        raise BundleError(f"expected an object for {name!r} in {folder / MANIFEST}: compile the student anew")
    return read_checked(folder, name, entry.get("bytes"), entry.get("sha256"))


def _task(name: str, entry: Mapping[str, Any]) -> Task:
    return Task(
        name=name,
        kind=entry["kind"],
        labels=tuple(str(label) for label in entry.get("labels", ())),
        threshold=None if entry.get("threshold") is None else float(entry["threshold"]),
        temperature=float(entry.get("temperature", 1.0)),
    )
