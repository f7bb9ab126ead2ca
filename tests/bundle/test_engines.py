"""What lies in engines/ is listed, checked, and found again only by what it was built for."""

import json
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_lupi.bundle.engines import (
    Built,
    Device,
    EngineKey,
    differences,
    locked,
    read_engine,
    read_engines,
    write_choice,
    write_engine,
)
from edge_lupi.disk import temporary_prefix
from edge_lupi.errors import BundleError, InputError

ORIN = Device("10.3.0", "8.7", "Orin")
ADA = Device("11.4.0.106", "8.9", "NVIDIA RTX 4000")
KEY = EngineKey("encoder", "int8", "a" * 64, 16, 256, ORIN)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "engines"


def write(folder: Path, key: EngineKey, data: bytes) -> Built:
    with locked(folder):
        return write_engine(folder, key, data)


def test_back_as_it_was(folder: Path) -> None:
    assert read_engines(folder) == ()
    built = write(folder, KEY, b"plan")
    assert read_engines(folder) == (built,)
    assert (read_engine(folder, built), built.bytes, built.chosen) == (b"plan", 4, False)
    assert sorted(p.name for p in folder.iterdir()) == [KEY.file, "engines.json"]


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, name="aggregator.mood"),
        replace(KEY, precision="fp16"),
        replace(KEY, graph_sha256="b" * 64),
        replace(KEY, max_batch=8),
        replace(KEY, workspace_mib=64),
        replace(KEY, device=ADA),
        replace(KEY, device=replace(ORIN, tensorrt="10.4.0")),
        replace(KEY, device=replace(ORIN, capability="8.6")),
        replace(KEY, device=replace(ORIN, gpu="Orin Nano")),
    ],
)
def test_whatever_it_depends_on_is_in_its_name(other: EngineKey) -> None:
    assert other.file != KEY.file


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (KEY, ""),
        (replace(KEY, device=ADA), "built for SM 8.7 with TensorRT 10.3.0; here SM 8.9 with TensorRT 11.4.0.106"),
        (replace(KEY, device=replace(ORIN, gpu="Orin Nano")), "built on Orin; here Orin Nano"),
        (
            replace(KEY, device=replace(ORIN, multiprocessors=4, memory_gib=8, board="NVIDIA Jetson Orin Nano")),
            "built on Orin; here Orin (4 multiprocessors, 8 GiB) of NVIDIA Jetson Orin Nano",
        ),
        (
            replace(KEY, device=Device("", "", "")),
            "built for SM 8.7 with TensorRT 10.3.0; here no GPU with no TensorRT",
        ),
        (replace(KEY, graph_sha256="b" * 64), "built from another graph"),
        (replace(KEY, max_batch=32), "built for batches up to 16 in 256 MiB; wanted 32 in 256 MiB"),
    ],
)
def test_what_differs_is_named(wanted: EngineKey, words: str) -> None:
    assert differences(KEY, wanted) == words


def test_engines_of_two_devices_lie_side_by_side_and_a_stale_one_goes(folder: Path) -> None:
    orin, ada = write(folder, KEY, b"orin"), write(folder, replace(KEY, device=ADA), b"ada")
    with locked(folder):
        write_choice(folder, ORIN, "int8")
    assert {b.key.device.gpu: b.chosen for b in read_engines(folder)} == {"Orin": True, "NVIDIA RTX 4000": False}
    newer = write(folder, replace(KEY, device=replace(ORIN, tensorrt="10.7.0")), b"newer")
    assert read_engines(folder) == (ada, newer)
    assert not (folder / orin.key.file).exists()


def test_what_a_killed_process_left_goes(folder: Path) -> None:
    write(folder, KEY, b"plan")
    Path(f"{folder}/{temporary_prefix(folder / KEY.file)}abc").write_bytes(b"half")
    write(folder, replace(KEY, precision="fp16"), b"other")
    assert len(list(folder.iterdir())) == 3


def change(folder: Path, **values: Any) -> None:
    content = json.loads((folder / "engines.json").read_text())
    content["engines"][0].update(values)
    (folder / "engines.json").write_text(json.dumps(content))


def put(text: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / "engines.json").write_text(text)


def link_list(folder: Path) -> None:
    (folder / "engines.json").rename(folder.parent / "elsewhere")
    (folder / "engines.json").symlink_to(folder.parent / "elsewhere")


def link_folder(folder: Path) -> None:
    folder.rename(folder.parent / "elsewhere")
    folder.symlink_to(folder.parent / "elsewhere")


HOSTILE: dict[str, Callable[[Path], Any]] = {
    "a path out": lambda f: change(f, file="../../secret"),
    "another file": lambda f: change(f, file="other.plan"),
    "a name that is a path": lambda f: change(f, name="../encoder"),
    "another precision": lambda f: change(f, precision="int4"),
    "no hash": lambda f: change(f, sha256=None),
    "a graph that is no hash": lambda f: change(f, graph_sha256="a"),
    "a negative batch": lambda f: change(f, max_batch=-1),
    "a batch that is true": lambda f: change(f, max_batch=True),
    "a device that is a word": lambda f: change(f, device="Orin"),
    "a device that knows too much": lambda f: change(f, device={"tensorrt": "1", "capability": "1", "gpu": "x", "y": "z"}),
    "a device over two lines": lambda f: change(f, device={"tensorrt": "1", "capability": "1", "gpu": "a\nb"}),
    "a list that is a word": put('{"version": 1, "engines": "none"}'),
    "a number": put("7"),
    "a list": put("[]"),
    "no JSON": put("{"),
    "another version": put('{"version": 3, "engines": []}'),
    "a deep one": put("[" * 100_000),
    "a huge one": put(" " * (1 << 20) + "{}"),
    "a linked list": link_list,
    "a linked folder": link_folder,
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_list_that_cannot_be_trusted(folder: Path, kind: str) -> None:
    write(folder, KEY, b"plan")
    HOSTILE[kind](folder)
    with pytest.raises(BundleError, match=r"is not a list of engines \(.*\): remove the folder") as caught:
        read_engines(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("spoil", ["change", "truncate", "remove", "link"])
def test_an_engine_that_cannot_be_trusted(folder: Path, spoil: str) -> None:
    built = write(folder, KEY, b"plan")
    file = folder / KEY.file
    if spoil == "link":
        file.rename(folder.parent / "elsewhere")
        file.symlink_to(folder.parent / "elsewhere")
    elif spoil == "remove":
        file.unlink()
    else:
        file.write_bytes({"change": b"PLAN", "truncate": b"pl"}[spoil])
    with pytest.raises(BundleError):
        read_engine(folder, built)


def test_a_full_disk_leaves_what_was_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = write(folder, KEY, b"plan")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(InputError, match="No space left on device"):
            write(folder, replace(KEY, precision="fp16"), b"other")
    assert read_engines(folder) == (built,)
    assert sorted(p.name for p in folder.iterdir()) == [KEY.file, "engines.json"]


def test_where_nothing_may_be_written(tmp_path: Path) -> None:
    (tmp_path / "engines").write_text("a file")
    with pytest.raises(InputError, match="could not write in"), locked(tmp_path / "engines"):
        pass


def _build_ten(folder: Path, precision: str) -> None:
    for batch in range(1, 11):
        write(folder, replace(KEY, precision=precision, max_batch=batch), precision.encode() * batch)


def test_processes_at_once_do_not_harm_each_other(folder: Path) -> None:
    spawn = multiprocessing.get_context("fork")
    processes = [spawn.Process(target=_build_ten, args=(folder, p)) for p in ("fp32", "fp16", "int8")]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    found = {b.key.precision: (b.key.max_batch, read_engine(folder, b)) for b in read_engines(folder)}
    assert found == {p: (10, p.encode() * 10) for p in ("fp32", "fp16", "int8")}
    assert len(list(folder.glob("*.plan"))) == 3
