"""student.pt: back as it was, and nothing but plain tensors is ever opened."""

import os
import pickle
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from edge_lupi.errors import BundleError, InputError
from edge_lupi.models.files import STUDENT, TEACHER, TrainedStudent, describe, load_student, load_teacher, save_student

MakeStudent = Callable[[], TrainedStudent]


@pytest.fixture
def file(make_grid_student: MakeStudent, tmp_path: Path) -> Path:
    path = tmp_path / "student.pt"
    save_student(path, make_grid_student())
    return path


def same(a: TrainedStudent, b: TrainedStudent) -> bool:
    ours, theirs = a.student.state_dict(), b.student.state_dict()
    return (
        ours.keys() == theirs.keys()
        and all(torch.equal(value, theirs[name]) for name, value in ours.items())
        and a.ranges.keys() == b.ranges.keys()
        and all(torch.equal(value, b.ranges[name]) for name, value in a.ranges.items())
        and torch.equal(a.speech, b.speech)
        and (a.student.config, a.provenance) == (b.student.config, b.provenance)
    )


def test_back_as_it_was_after_fine_tuning(make_grid_student: MakeStudent, file: Path) -> None:
    assert same(load_student(file), make_grid_student())


def test_back_as_it_was_before_fine_tuning(mood_chain: Any, tmp_path: Path) -> None:
    trained = load_student(mood_chain.folder / "student.pt")
    assert any("norm" in name for name in trained.student.state_dict())
    save_student(tmp_path / "again.pt", trained)
    assert same(load_student(tmp_path / "again.pt"), trained)


def test_student_and_teacher_are_told_apart(mood_chain: Any) -> None:
    student, teacher = mood_chain.folder / "student.pt", mood_chain.folder / "teacher.pt"
    assert (describe(student), describe(teacher)) == (STUDENT, TEACHER)
    with pytest.raises(BundleError, match=r"expected a student of edge-lupi .* got 'edge-lupi teacher'"):
        load_student(teacher)
    with pytest.raises(BundleError, match="expected a teacher"):
        load_teacher(student)


class Payload:
    """Unpickled, it writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.target, "I ran")


@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_a_payload_is_refused_and_does_not_run(file: Path, write: Callable[[Any, Path], None]) -> None:
    content = torch.load(file, weights_only=True)
    trace = file.with_name("trace")
    write({**content, "provenance": Payload(trace)}, file)
    with pytest.raises(BundleError, match="not opened further"):
        load_student(file)
    assert not trace.exists()


def expanded(content: dict[str, Any], path: Path) -> None:
    """One number, in the shape of 32 GB."""
    torch.save({**content, "speech": torch.zeros(1, dtype=torch.int16).expand(1 << 34)}, path)


def expanded_in_state(content: dict[str, Any], path: Path) -> None:
    torch.save({**content, "state": {"entry": [(torch.zeros(1).expand(1 << 33),)]}}, path)


def packed(content: dict[str, Any], path: Path) -> None:
    """A zip whose storages are deflated: half a megabyte that unpacks to half a gigabyte."""
    torch.save({**content, "speech": torch.zeros(1 << 28, dtype=torch.int16)}, path)
    with zipfile.ZipFile(path) as plain, zipfile.ZipFile(f"{path}.zip", "w", zipfile.ZIP_DEFLATED) as deflated:
        for member in plain.infolist():
            deflated.writestr(member.filename, plain.read(member))
    Path(f"{path}.zip").replace(path)


class Filled:
    """Unpickled, it is a gigabyte; torch.load(weights_only=True) takes it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return bytearray, (1 << 30,)


class Untouched:
    """The same with a tensor."""

    def __reduce__(self) -> tuple[Any, ...]:
        return torch.Tensor, (1 << 28,)


def nested(content: dict[str, Any], path: Path) -> None:
    """Each list holds the one before it twice: 2**60 ways to walk."""
    inner: list[Any] = []
    for _ in range(60):
        inner = [inner, inner]
    torch.save({**content, "provenance": inner}, path)


@pytest.mark.parametrize(
    "write",
    [
        expanded,
        expanded_in_state,
        packed,
        nested,
        lambda content, path: torch.save({**content, "speech": Filled()}, path),
        lambda content, path: torch.save({**content, "speech": Untouched()}, path),
        lambda content, path: (path.unlink(), os.mkfifo(path)),
        lambda content, path: (path.unlink(), path.symlink_to("/dev/zero")),
        lambda content, path: os.truncate(path, 1 << 32),
    ],
    ids=["expanded", "expanded in state", "packed", "nested", "bytearray", "tensor", "pipe", "device", "sparse"],
)
def test_a_file_that_would_fill_the_memory(file: Path, write: Callable[[Any, Path], None]) -> None:
    write(torch.load(file, weights_only=True), file)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BundleError) as caught:
        load_student(file)
    assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(file: Path, share: float) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(BundleError, match="is not a student of edge-lupi"):
        load_student(file)


def test_text_and_other_things_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "student.pt"
    for content in (b"I am a student\n", b"\x80\x02", b"PK\x03\x04" + bytes(100)):
        path.write_bytes(content)
        with pytest.raises(BundleError, match="is not a student"):
            load_student(path)
    for thing in (torch.zeros(3), [1, 2], {"state": {}}):
        torch.save(thing, path)
        with pytest.raises(BundleError, match="expected a student of edge-lupi"):
            load_student(path)
    for missing in (tmp_path, tmp_path / "none.pt"):
        with pytest.raises(BundleError, match="is not a file"):
            load_student(missing)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("version", 2, "expected student version 1, got 2"),
        ("state", {}, "damaged or of another version"),
        ("config", {"size": "nano"}, "damaged or of another version"),
        ("config", 3, "damaged or of another version"),
        ("folded", False, "damaged or of another version"),
        ("ranges", {"entry": torch.ones(())}, "ranges belong to another network"),
        ("ranges", 7, "damaged or of another version"),
        ("speech", "hello", "damaged or of another version"),
        ("provenance", 1, "damaged or of another version"),
        ("provenance", {"recipe": "tiny"}, "damaged or of another version"),
        ("provenance", {"training_speakers": 7}, "damaged or of another version"),
        ("speech", torch.zeros(2, 2), "damaged or of another version"),
    ],
)
def test_a_wrong_part_is_one_sentence(file: Path, key: str, value: Any, words: str) -> None:
    torch.save({**torch.load(file, weights_only=True), key: value}, file)
    with pytest.raises(BundleError, match=words) as caught:
        load_student(file)
    assert "\n" not in str(caught.value)


def test_a_full_disk_changes_nothing(file: Path, make_grid_student: MakeStudent) -> None:
    before = file.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
        with pytest.raises(InputError, match="nothing was changed"):
            save_student(file, make_grid_student())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]
