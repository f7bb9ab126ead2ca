"""A bundle is read only where every byte is what the manifest says, and written at once or not at all."""

import hashlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lupi import disk
from edge_lupi.bundle.bundle import Bundle, shipped_bundle
from edge_lupi.bundle.manifest import MAX_MANIFEST_BYTES
from edge_lupi.bundle.write import write_bundle
from edge_lupi.errors import BundleError, InputError
from edge_lupi.task import Task

TASKS = {
    "speaker": Task("speaker", "verification", threshold=0.4),
    "mood": Task("mood", "classification", ("plain", "bright"), temperature=1.5),
}
MANIFEST = {"fingerprint": "abc", "segment_seconds": 1.0, "hop_seconds": 0.5, "licence": "none"}


def golden() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, samples=np.arange(5, dtype=np.int16))
    return buffer.getvalue()


FILES = {
    "front_end.onnx": b"front end",
    "encoder.onnx": b"encoder",
    "aggregator.speaker.onnx": b"speaker",
    "aggregator.mood.onnx": b"mood",
    "golden.npz": golden(),
}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "x.lupi", MANIFEST, FILES, TASKS)


def test_back_as_it_was(bundle: Path) -> None:
    found = Bundle.load(bundle)
    assert found.files == FILES
    assert found.tasks == TASKS
    assert (found.segmentation.seconds, found.segmentation.hop_seconds, found.fingerprint) == (1.0, 0.5, "abc")
    assert found.size_bytes == sum(map(len, FILES.values()))
    assert found.task() == TASKS["speaker"]
    assert found.golden()["samples"].tolist() == [0, 1, 2, 3, 4]
    assert [path.name for path in bundle.parent.iterdir()] == ["x.lupi"]


def test_what_it_does_not_know(bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"expected a bundle for task digit, got x.lupi, which knows speaker, mood"):
        Bundle.load(bundle).task("digit")
    with pytest.raises(BundleError, match=r"expected engine.plan"):
        Bundle.load(bundle).file("engine.plan")
    with pytest.raises(InputError, match="no bundle for task digit comes with edge-lupi"):
        shipped_bundle("digit")


def test_an_older_bundle_is_replaced(bundle: Path) -> None:
    write_bundle(bundle, {**MANIFEST, "fingerprint": "def"}, {**FILES, "encoder.onnx": b"new"}, TASKS)
    found = Bundle.load(bundle)
    assert (found.fingerprint, found.file("encoder.onnx")) == ("def", b"new")
    assert [path.name for path in bundle.parent.iterdir()] == ["x.lupi"]


def test_anything_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "photo.jpg").write_bytes(b"sun")
    with pytest.raises(InputError, match="exists and is not a bundle"):
        write_bundle(tmp_path / "holiday", MANIFEST, FILES, TASKS)
    assert (tmp_path / "holiday" / "photo.jpg").read_bytes() == b"sun"


FOREIGN: dict[str, Callable[[Path], Any]] = {
    "thesis.txt": lambda b: (b / "thesis.txt").write_text("years of work"),
    ".git": lambda b: (b / ".git").mkdir(),
    "engines/thesis.txt": lambda b: ((b / "engines").mkdir(), (b / "engines" / "thesis.txt").write_text("")),
    "encoder.onnx": lambda b: ((b / "encoder.onnx").unlink(), (b / "encoder.onnx").mkdir()),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_a_bundle_that_holds_something_else_is_not_replaced(bundle: Path, name: str) -> None:
    FOREIGN[name](bundle)
    with pytest.raises(InputError, match=f"{name} in it is none of its files"):
        write_bundle(bundle, MANIFEST, FILES, TASKS)
    assert (bundle / name).exists()


def test_what_was_made_on_the_device_does_not_stand_in_the_way(bundle: Path) -> None:
    for name in ("calibration.speaker.json", "calibration.speaker.svg", "manifest.sig"):
        (bundle / name).write_text("{}")
    (bundle / "engines").mkdir()
    (bundle / "engines" / "engines.json").write_text("{}")
    write_bundle(bundle, {**MANIFEST, "fingerprint": "def"}, FILES, TASKS)
    assert Bundle.load(bundle).fingerprint == "def"


@pytest.mark.parametrize("manifest", ['{"domain": "mine"}', '{"format": "zip"}', "[]", "{"])
def test_a_folder_with_another_manifest_is_not_replaced(tmp_path: Path, manifest: str) -> None:
    """A web page, a browser's extension and a home automation's component have a manifest.json, too."""
    (tmp_path / "manifest.json").write_text(manifest)
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="exists and is not a bundle"):
        write_bundle(tmp_path, MANIFEST, FILES, TASKS)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="training_speakers"):
        write_bundle(tmp_path / "x.lupi", {**MANIFEST, "training": {"training_speakers": "ann"}}, FILES, TASKS)
    names = [f"{index:080d}" for index in range(60_000)]
    with pytest.raises(InputError, match="expected a manifest of at most"):
        write_bundle(tmp_path / "x.lupi", {**MANIFEST, "training": {"training_names": names}}, FILES, TASKS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("which", ["open", "fsync", "rename"])
def test_a_write_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str, there: bool
) -> None:
    target = tmp_path / "x.lupi"
    if there:
        write_bundle(target, MANIFEST, FILES, TASKS)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    owner = {"open": Path, "fsync": os, "rename": os}[which]
    with monkeypatch.context() as patched:
        if which == "rename" and there:
            patched.setattr(disk, "_exchange", full)
        else:
            patched.setattr(owner, which, full)
        with pytest.raises(InputError, match=r"No space left on device.*nothing was changed"):
            write_bundle(target, {**MANIFEST, "fingerprint": "def"}, FILES, TASKS)
    assert [path.name for path in tmp_path.iterdir()] == (["x.lupi"] if there else [])
    assert not there or Bundle.load(target).fingerprint == "abc"


def change(bundle: Path, **values: Any) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps({**manifest, **values}))


def list_file(bundle: Path, name: str, data: bytes) -> None:
    """Enter a file with its right hash, as an attacker would."""
    listed = json.loads((bundle / "manifest.json").read_text())["files"]
    change(bundle, files={**listed, name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}})


def escape(bundle: Path, name: str) -> None:
    (bundle.parent / "secret").write_bytes(b"secret")
    list_file(bundle, name.format(bundle.parent), b"secret")


def link(bundle: Path) -> None:
    (bundle / "encoder.onnx").rename(bundle.parent / "elsewhere")
    (bundle / "encoder.onnx").symlink_to(bundle.parent / "elsewhere")


def sparse_files(bundle: Path, count: int, size: int) -> None:
    """Files that take no room on the disk; their hashes are never looked at."""
    for index in range(count):
        with (bundle / f"{index}.onnx").open("wb") as file:
            file.truncate(size)
    listed = json.loads((bundle / "manifest.json").read_text())["files"]
    change(bundle, files=listed | {f"{index}.onnx": {"sha256": "0", "bytes": size} for index in range(count)})


HOSTILE: dict[str, Callable[[Path], Any]] = {
    "a name with dots": lambda b: escape(b, "../secret"),
    "an absolute name": lambda b: escape(b, "{}/secret"),
    "a hidden name": lambda b: list_file(b, ".secret", b""),
    "an empty name": lambda b: list_file(b, "", b""),
    "a folder": lambda b: ((b / "encoder.onnx").unlink(), (b / "encoder.onnx").mkdir()),
    "a link": link,
    "another content": lambda b: (b / "encoder.onnx").write_bytes(b"ENCODER"),
    "a truncated file": lambda b: (b / "encoder.onnx").write_bytes(b"enc"),
    "a longer file": lambda b: (b / "encoder.onnx").write_bytes(b"encoder" * 2),
    "a missing file": lambda b: (b / "encoder.onnx").unlink(),
    "no entry for a graph": lambda b: change(b, files={"golden.npz": json.loads((b / "manifest.json").read_text())["files"]["golden.npz"]}),
    "entries that are no entries": lambda b: change(b, files={"encoder.onnx": 3}),
    "no manifest": lambda b: (b / "manifest.json").unlink(),
    "a manifest that is no JSON": lambda b: (b / "manifest.json").write_text("{"),
    "a manifest that is no text": lambda b: (b / "manifest.json").write_bytes(b"\xff\x00"),
    "a manifest that is a list": lambda b: (b / "manifest.json").write_text("[]"),
    "a huge manifest": lambda b: change(b, licence="x" * MAX_MANIFEST_BYTES),
    "a deep manifest": lambda b: (b / "manifest.json").write_text("[" * 100_000),
    "another format": lambda b: change(b, format="zip"),
    "another version": lambda b: change(b, version=2),
    "no fingerprint": lambda b: change(b, fingerprint=None),
    "a number as fingerprint": lambda b: change(b, fingerprint=7),
    "no tasks": lambda b: change(b, tasks={}),
    "a task of another kind": lambda b: change(b, tasks={"speaker": {"kind": "oracle"}}),
    "a task that is a word": lambda b: change(b, tasks={"speaker": "verification"}),
    "a task that is a path": lambda b: change(b, tasks={"../x": {"kind": "verification"}}),
    "a threshold that is a word": lambda b: change(b, tasks={"speaker": {"kind": "verification", "threshold": "high"}}),
    "an endless segment": lambda b: change(b, segment_seconds=float("inf")),
    "a segment that is a word": lambda b: change(b, segment_seconds="long"),
    "no hop": lambda b: change(b, hop_seconds=None),
    "a student that is a number": lambda b: change(b, student=3),
    "a precision that is a list": lambda b: change(b, precision=[]),
    "training that is a word": lambda b: change(b, training="hard"),
    "graphs for TensorRT that are a word": lambda b: change(b, tensorrt="all"),
    "a graph for TensorRT that is a list": lambda b: change(b, tensorrt={"encoder": {"fp32": []}}),
    "a graph for TensorRT that is not listed": lambda b: change(b, tensorrt={"encoder": {"fp32": "../secret"}}),
    "a pipe as manifest": lambda b: ((b / "manifest.json").unlink(), os.mkfifo(b / "manifest.json")),
    "a device as manifest": lambda b: ((b / "manifest.json").unlink(), (b / "manifest.json").symlink_to("/dev/zero")),
    "a pipe as graph": lambda b: ((b / "encoder.onnx").unlink(), os.mkfifo(b / "encoder.onnx")),
    "files larger than is read": lambda b: sparse_files(b, 20, 100 << 20),
    "more files than are read": lambda b: change(b, files={f"{i}.onnx": {"sha256": "0", "bytes": 0} for i in range(100)}),
    "a file larger than it says": lambda b: os.truncate(b / "encoder.onnx", 400 << 20),
    "a size that is true": lambda b: change(b, files={"encoder.onnx": {"sha256": "0", "bytes": True}}),
    "a threshold that is true": lambda b: change(b, tasks={"speaker": {"kind": "verification", "threshold": True}}),
    "a threshold of 400 digits": lambda b: change(b, tasks={"speaker": {"kind": "verification", "threshold": 10**400}}),
    "a temperature that is no number": lambda b: change(b, tasks={"speaker": {"kind": "verification", "temperature": float("nan")}}),
    "a temperature of 0": lambda b: change(b, tasks={"speaker": {"kind": "verification", "temperature": 0}}),
    "a segment of 400 digits": lambda b: change(b, segment_seconds=10**400),
    "a hop that is true": lambda b: change(b, hop_seconds=True),
    "labels that are a word": lambda b: change(b, tasks={"mood": {"kind": "classification", "labels": "abc"}}),
    "labels that are numbers": lambda b: change(b, tasks={"mood": {"kind": "classification", "labels": [1, 2]}}),
    "a label that is half a letter": lambda b: change(b, tasks={"mood": {"kind": "classification", "labels": ["\ud800", "b"]}}),
    "a kind that is a list": lambda b: change(b, tasks={"mood": {"kind": ["verification"]}}),
    "layers that are a number": lambda b: change(b, precision={"float_layers": 7}),
    "speakers that are a word": lambda b: change(b, training={"training_speakers": "ann"}),
    "a recipe that is a word": lambda b: change(b, training={"recipe": "tiny"}),
    "silence that is a word": lambda b: change(b, training={"recipe": {"segments": {"trim_db": "much"}}}),
    "a version that is true": lambda b: change(b, version=True),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_bundle_that_cannot_be_trusted(bundle: Path, kind: str) -> None:
    HOSTILE[kind](bundle)
    with pytest.raises(BundleError) as caught:
        Bundle.load(bundle)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("kind", ["a list that is none", "engines that lie elsewhere"])
def test_engines_that_cannot_be_trusted_are_none(bundle: Path, kind: str) -> None:
    """The CPU needs none of them."""
    if kind == "a list that is none":
        (bundle / "engines").mkdir()
        (bundle / "engines" / "engines.json").write_text("7")
    else:
        (bundle.parent / "e").mkdir()
        (bundle / "engines").symlink_to(bundle.parent / "e")
    found = Bundle.load(bundle)
    assert found.engines == ()
    assert "is not a list of engines" in found.engines_fault
    assert "\n" not in found.engines_fault


def test_a_file_or_nothing_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x.lupi").write_text("hello")
    with pytest.raises(BundleError, match=r"as student\.lupi, got the file"):
        Bundle.load(tmp_path / "x.lupi")
    with pytest.raises(BundleError, match="does not exist"):
        Bundle.load(tmp_path / "none.lupi")


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, samples=np.array([{"a": 1}], dtype=object))
    return buffer.getvalue()


def bomb() -> bytes:
    """Half a megabyte that unpacks to half a gigabyte."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, samples=np.zeros(1 << 29, np.int8))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content", [bomb(), pickled(), b"", b"text", golden()[:100], b"PK\x03\x04" + bytes(50), b"\x93NUMPY\x01\x00"],
    ids=["bomb", "pickled", "empty", "text", "truncated", "zip", "npy"],
)  # fmt: skip
def test_golden_vectors_that_cannot_be_trusted(bundle: Path, content: bytes) -> None:
    (bundle / "golden.npz").write_bytes(content)
    list_file(bundle, "golden.npz", content)
    with pytest.raises(BundleError, match=r"golden.npz in .* cannot be read") as caught:
        Bundle.load(bundle).golden()
    assert "\n" not in str(caught.value)


SHIPPED = Path(__file__).resolve().parents[2] / "edge_lupi" / "bundles"


@pytest.mark.real_speech
@pytest.mark.parametrize("task", ["speaker", "emotion"])
def test_the_bundles_that_come_along(task: str, data_root: Path) -> None:
    found = Bundle.load(shipped_bundle(task))
    assert found.path == SHIPPED / f"{task}.lupi"
    assert found.size_bytes <= {"speaker": 3_600_000, "emotion": 2_500_000}[task]
    assert found.manifest["precision"]["chosen"] == "int8"
    assert found.manifest["precision"]["float_layers"] == []
    licence = {"speaker": "CC BY 4.0", "emotion": "CC BY-NC-SA 4.0"}[task]
    assert licence in found.manifest["licence"]
    assert licence in found.file("CARD.md").decode()
    assert found.task().name == task
    assert task == "emotion" or 0 < (found.task().threshold or 0) < 1
