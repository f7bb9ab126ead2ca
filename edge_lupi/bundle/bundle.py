"""student.lupi, the folder that goes on the device: manifest, graphs, golden vectors, model card.

Reading trusts nothing: names stay inside the folder, sizes are bounded, every file must match its sha256, arrays are
never unpickled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edge_lupi.bundle.engines import FOLDER, Built, read_engines
from edge_lupi.bundle.manifest import (
    MANIFEST,
    manifest_bytes,
    parsed_manifest,
)
from edge_lupi.bundle.provenance import Provenance
from edge_lupi.bundle.signature import check_signature, signature_of
from edge_lupi.disk import identity, kind_of, read_checked, unpacked_arrays
from edge_lupi.errors import BundleError, InputError
from edge_lupi.frames import Segmentation
from edge_lupi.task import MOST_PRIOR_CLIPS, Task, is_task_name
from edge_lupi.words import number, printable

__all__ = ["Bundle", "shipped_bundle"]

MAX_GOLDEN_BYTES = 1 << 26  # unpacked; ours have half a megabyte
ATTEMPTS = 10  # at a bundle that is replaced while it is read
SHIPPED = Path(__file__).resolve().parents[1] / "bundles"


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

    @property
    def provenance(self) -> Provenance:
        """Where its weights come from."""
        return Provenance.read(self.manifest.get("training", {}))

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
        if (kind := _kind(path)) != "folder":
            raise _no_bundle(path, kind)
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
                f"expected a bundle for task {name}, got {self.path.name}, which knows {', '.join(self.tasks)}: ask for that, or leave the task out",
                options=("task",),
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
        graphs: Mapping[str, Mapping[str, str]] = self.manifest.get("tensorrt", {})
        return graphs

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
    if not is_task_name(task) or kind_of(path) != "folder":
        tasks = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.lupi"))) or "none"
        raise InputError(
            f"no bundle for task {task} comes with edge-lupi (there is: {tasks}): ask for one of these, or name a bundle of your own",
            options=("task",),
        )
    return path


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
        raise BundleError(f"{error}, or name another bundle", options=error.options) from error


def _no_bundle(path: Path, kind: str) -> BundleError:
    """What to say of a path at which no folder lies, by what may have been meant."""
    shown = printable(str(path))
    if kind == "nothing" and kind_of(SHIPPED / f"{path.name}.lupi") == "folder":
        return BundleError(
            f"expected a bundle folder, got {shown}, which does not exist: the one that comes with edge-lupi is asked for by its task",
            options=("task",),
        )
    if kind == "nothing":
        return BundleError(f"expected a bundle folder, got {shown}, which does not exist: check the path")
    if path.suffix == ".pt":
        return BundleError(
            f"expected a bundle folder, got the file {shown}: edge-lupi compile makes a bundle of a student"
        )
    return BundleError(f"expected a bundle folder, as student.lupi, got the file {shown}: check the path")


def _task(name: str, entry: Mapping[str, Any]) -> Task:
    labels, threshold = entry.get("labels", []), entry.get("threshold")
    if not isinstance(labels, list):
        raise ValueError(f"expected a list of labels for task {name[:40]!r}")
    threshold = None if threshold is None else number(threshold, -1, 1)
    temperature = number(entry.get("temperature", 1.0), 1e-6, 1e6)
    return Task(
        name, entry["kind"], tuple(labels), threshold, temperature, number(entry.get("voice", 0.0), 0, MOST_PRIOR_CLIPS)
    )
