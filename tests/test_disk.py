"""A folder is the old one or the other, whole, whoever reads, writes or is killed at whatever moment."""

import ctypes
import io
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lupi import disk
from edge_lupi.bundle.bundle import Bundle, shipped_bundle
from edge_lupi.bundle.write import write_bundle
from edge_lupi.disk import (
    identity,
    kind_of,
    locked,
    read_bounded,
    temporary_prefix,
    unpacked_arrays,
    write_at_once,
    write_folder,
    writing,
)
from edge_lupi.errors import InputError

FORK = multiprocessing.get_context("fork")


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


class WithoutExchange:
    """The C library of a system older than renameat2."""

    def __init__(self, *_: object, **__: object) -> None: ...


def by_kernel(monkeypatch: pytest.MonkeyPatch) -> None: ...


def without_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", WithoutExchange)


def on_a_file_system_that_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "RENAME_EXCHANGE", 1 << 30)  # the kernel answers EINVAL, as it does there


SYSTEMS = pytest.mark.parametrize("system", [by_kernel, without_the_call, on_a_file_system_that_cannot])


@SYSTEMS
def test_a_folder_takes_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: Callable[[pytest.MonkeyPatch], None]
) -> None:
    system(monkeypatch)
    target = tmp_path / "x"
    for files in ({"a": b"1", "b": b"2"}, {"a": b"3"}):
        before = identity(target)
        write_folder(target, files)
        assert content(target) == files
        assert identity(target) != before
    assert names(tmp_path) == ["x"]


@SYSTEMS
def test_what_cannot_take_its_place_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """The target's name is held by a file, which only a folder may not replace."""
    system(monkeypatch)
    (tmp_path / "x").write_bytes(b"a file")
    with pytest.raises(OSError, match="Not a directory"):
        write_folder(tmp_path / "x", {"a": b"1"})
    assert names(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == b"a file"


def test_in_steps_a_failure_in_the_middle_puts_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_the_call(monkeypatch)
    write_folder(tmp_path / "x", {"a": b"old"})
    rename = os.rename

    def not_into_place(source: Path, wanted: Path) -> None:
        if Path(wanted) == tmp_path / "x" and source.name != "old":
            raise OSError(5, "Input/output error")
        rename(source, wanted)

    monkeypatch.setattr(os, "rename", not_into_place)
    with pytest.raises(OSError, match="Input/output error"):
        write_folder(tmp_path / "x", {"a": b"new"})
    assert content(tmp_path / "x") == {"a": b"old"}
    assert names(tmp_path) == ["x"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    write_folder(tmp_path / "real", {"a": b"1"})
    (tmp_path / "link").symlink_to("real")
    write_folder(tmp_path / "link", {"a": b"2"})
    assert (tmp_path / "link").is_symlink()
    assert content(tmp_path / "real") == {"a": b"2"}
    assert names(tmp_path) == ["link", "real"]


def test_left_overs_go_unless_their_writer_lives(tmp_path: Path) -> None:
    ours = temporary_prefix(tmp_path / "x")
    dead, alive, other = f"{ours}dead", f"{ours}alive", ".x.env"
    for name in (dead, alive, other):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_bytes(b"")
    with locked(tmp_path / alive):
        write_folder(tmp_path / "x", {"a": b"1"})
        assert names(tmp_path) == [alive, other, "x"]
    write_folder(tmp_path / "x", {"a": b"2"})
    assert names(tmp_path) == [other, "x"]


def test_reads_plain_files_of_bounded_size_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "small").write_bytes(b"four")
    assert read_bounded(tmp_path / "small", 4) == b"four"
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path, tmp_path / "none", tmp_path / ("n" * 300)):
        with pytest.raises(InputError, match=r"expected a list at .*, got"):
            read_bounded(path, 4, "a list")
    with pytest.raises(InputError, match=r"at most 3 bytes"):
        read_bounded(tmp_path / "small", 3)
    (tmp_path / "link").symlink_to("small")
    with pytest.raises(InputError, match="a link"):
        read_bounded(tmp_path / "link", 4, follow_links=False)


def test_says_what_lies_at_a_path(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "plain").touch()
    kinds = [kind_of(tmp_path / name) for name in ("plain", "", "none", "plain/below", "pipe")]
    assert kinds == ["file", "folder", "nothing", "nothing", "other"]
    with pytest.raises(InputError, match="File name too long"):
        kind_of(tmp_path / ("n" * 300))
    with pytest.raises(InputError, match="check the path"):
        kind_of("nul\0inside")


def packed(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def test_arrays_are_counted_before_they_are_unpacked() -> None:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(7), "c": np.asfortranarray(np.eye(3))}
    found = unpacked_arrays(packed(**arrays), 10_000)
    assert all(np.array_equal(found[name], array) for name, array in arrays.items())
    for data in (packed(a=np.zeros(10_000)), packed(a=np.array([None])), b"no zip", packed(a=np.eye(3))[:-30]):
        with pytest.raises(ValueError, match=r"."):
            unpacked_arrays(data, 10_000)


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with writing(tmp_path / "new" / "a", "free some space"):
        write_at_once(tmp_path / "new" / "a", b"1")
    assert (tmp_path / "new" / "a").read_bytes() == b"1"
    with (
        pytest.raises(InputError, match=r"could not write \S+/new/a/b \(.+\): free some space$"),
        writing(tmp_path / "new" / "a" / "b", "free some space"),
    ):
        raise AssertionError("its folder is a file")


def test_who_holds_a_folder_is_waited_for(tmp_path: Path) -> None:
    write_folder(tmp_path / "x", {"a": b"1"})
    writer = threading.Thread(target=write_folder, args=(tmp_path / "x", {"a": b"2"}))
    with locked(tmp_path / "x"):
        writer.start()
        writer.join(0.3)
        assert writer.is_alive()
        assert content(tmp_path / "x") == {"a": b"1"}
    writer.join(10)
    assert content(tmp_path / "x") == {"a": b"2"}


class Reader(threading.Thread):
    """Loads a bundle again and again; `seen` are its fingerprints, `refused` what was said when it could not."""

    pause_seconds = 0.01

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.done = path, threading.Event()
        self.seen: list[str] = []
        self.refused: list[str] = []

    def run(self) -> None:
        while not self.done.is_set():
            try:
                self.seen.append(self.look(Bundle.load(self.path)))
            except Exception as error:
                self.refused.append(str(error))
            time.sleep(self.pause_seconds)

    def look(self, bundle: Bundle) -> str:
        return bundle.fingerprint


class VersionReader(Reader):
    """Of bundles whose card says their fingerprint."""

    pause_seconds = 0.0

    def look(self, bundle: Bundle) -> str:
        card = bundle.file("CARD.md").decode()
        return card if card == bundle.fingerprint else f"{card} in {bundle.fingerprint}"


def write_versions(path: Path, writer: str) -> None:
    """The shipped bundle under one name after another, until somebody ends the process."""
    shipped = Bundle.load(shipped_bundle("speaker"))
    for number in range(1_000_000):
        version = f"{writer}{number}"
        files = {**shipped.files, "CARD.md": version.encode()}
        write_bundle(path, {**shipped.manifest, "fingerprint": version}, files, shipped.tasks)


def test_two_writers_killed_again_and_again(tmp_path: Path) -> None:
    path, draw = tmp_path / "x.lupi", random.Random(0)
    shipped = Bundle.load(shipped_bundle("speaker"))
    first = {**shipped.files, "CARD.md": b"first"}
    write_bundle(path, {**shipped.manifest, "fingerprint": "first"}, first, shipped.tasks)
    reader = VersionReader(path)
    reader.start()
    try:
        for kill in range(20):
            writers = [FORK.Process(target=write_versions, args=(path, f"{kill}{name}-")) for name in "ab"]
            for writer in writers:
                writer.start()
            time.sleep(draw.uniform(0.02, 0.2))
            for writer in writers:
                assert writer.pid is not None
                os.kill(writer.pid, signal.SIGKILL)
                writer.join()
            Bundle.load(path)
    finally:
        reader.done.set()
        reader.join()
    assert reader.refused == []
    assert not [version for version in reader.seen if " in " in version]
    assert len(set(reader.seen)) > 3, "otherwise nothing was written in time"
    write_bundle(path, {**shipped.manifest, "fingerprint": "last"}, shipped.files, shipped.tasks)
    assert names(tmp_path) == ["x.lupi"]


def test_two_compile_runs_at_once_and_two_killed_as_they_write(mood_chain: Any, tmp_path: Path) -> None:
    """The verb itself: whoever is last wins, and whoever is killed changes nothing."""
    students = (mood_chain.folder / "student.pt", mood_chain.folder / "student.int8.pt")
    out = tmp_path / "x.lupi"

    def run(student: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "edge_lupi.cli", "compile", str(student), "--out", str(out), "--target", "cpu"]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})

    for running in [run(student) for student in students]:
        assert running.wait(60) == 0
    assert names(tmp_path) == ["x.lupi"]
    before = Bundle.load(out)
    expected = {Bundle.load(mood_chain.folder / name).fingerprint for name in ("float.lupi", "int8.lupi")}
    assert before.fingerprint in expected
    reader = Reader(out)
    reader.start()
    try:
        for running in [run(student) for student in students]:
            while running.poll() is None and len(names(tmp_path)) == 1:
                time.sleep(1e-3)
            running.kill()
            running.wait()
    finally:
        reader.done.set()
        reader.join()
    assert reader.refused == []
    assert set(reader.seen) | {Bundle.load(out).fingerprint} <= expected
