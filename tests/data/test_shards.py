"""A folder of shards tells where everything is; what is damaged, foreign or hostile is one sentence, and nothing runs."""

import io
import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lupi.data.shards import (
    FORMAT,
    LOG_MEL,
    VERSION,
    Rows,
    Shards,
    are_shards,
    array_bytes,
    open_shards,
    read_array,
    read_json,
    shard_path,
    speech_path,
    table_path,
    write_json,
)
from edge_lupi.errors import InputError

FEATURES = Rows(np.dtype("float32"), (3,))
INDEX: dict[str, Any] = {
    "format": FORMAT,
    "version": VERSION,
    "fingerprint": "f",
    "shards": 2,
    "utterances": 4,
    "left_out": 0,
    "corpus": "moods",
    "licence": "mine",
    "labels": ["bright", "plain"],
    "classes": ["bright", "plain"],
    "speakers": ["ann", "bob"],
    "validation_speakers": ["cid"],
    "validation_names": [],
    "speaker_dependent": False,
    "settings": {"augment.speeds": [1.0]},
    "video": {"dtype": "float32", "shape": [3]},
    "speech": {"train": [["clip0", "plain", "ann"]], "validation": []},
}


def frames(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(size=(20 + number, 80)).astype(np.float16)


def video(number: int) -> np.ndarray:
    return np.full((number + 1, 3), number, np.float32)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two shards of two examples each, made by hand."""
    for shard in range(2):
        table: dict[str, Any] = {"fingerprint": "f", "names": [], "label": [], "speaker": []}
        with tarfile.open(shard_path(tmp_path, shard), "w") as tar:
            for number in (2 * shard, 2 * shard + 1):
                for what, content in (("frames", frames(number)), ("video", video(number))):
                    member = tarfile.TarInfo(f"{number}.{what}.npy")
                    member.size = len(array_bytes(content))
                    table.setdefault(what, []).append(len(content))
                    table.setdefault(f"{what}_at", []).append(tar.offset + tarfile.BLOCKSIZE)
                    tar.addfile(member, io.BytesIO(array_bytes(content)))
                table["names"].append(f"clip{number}")
                table["label"].append(number % 2)
                table["speaker"].append(number % 3 - 1)
        table["bytes"] = shard_path(tmp_path, shard).stat().st_size
        write_json(table_path(tmp_path, shard), table)
    write_json(tmp_path / "index.json", INDEX)
    return tmp_path


def read(shards: Shards, number: int, what: str, kind: Rows, first: int, last: int) -> np.ndarray:
    columns = shards.columns
    path = shard_path(shards.root, shards.shard_of(number))
    return read_array(path, columns[f"{what}_at"][number], kind, int(columns[what][number]), first, last)


def test_everything_is_found(root: Path) -> None:
    shards = open_shards(root)
    assert are_shards(root)
    assert not are_shards(root.parent / "nowhere")
    assert len(shards) == 4
    assert [shards.shard_of(number) for number in range(4)] == [0, 0, 1, 1]
    assert shards.names.tolist() == [b"clip0", b"clip1", b"clip2", b"clip3"]
    assert shards.columns["speaker"].tolist() == [-1, 0, 1, -1]
    assert shards.train[0].audio == speech_path(root, "train", 0)
    for number in range(4):
        np.testing.assert_array_equal(read(shards, number, "frames", LOG_MEL, 3, 9), frames(number)[3:9])
        np.testing.assert_array_equal(read(shards, number, "video", FEATURES, 0, 1), video(number)[:1])


def test_no_rows_but_its_own(root: Path) -> None:
    shards = open_shards(root)
    for first, last in ((3, 21), (-1, 2), (4, 3)):
        assert f"no rows {first} to {last}" in sentence(
            lambda f=first, t=last: read(shards, 0, "frames", LOG_MEL, f, t)
        )


def sentence(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "webdataset"}, "expected edge-lupi shards, version 1, in .* got 'webdataset'"),
        ({"version": 2}, "version 2"),
        ({"shards": 0}, "0 shards"),
        ({"shards": 3}, "expected a JSON object in .*train-000002.json"),
        ({"shards": "many"}, "damaged"),
        ({"fingerprint": "g"}, "train-000000.json belongs to other shards"),
        ({"classes": ["bright"]}, "a label or speaker that is not listed"),
        ({"speakers": []}, "a label or speaker that is not listed"),
        ({"settings": None}, "damaged"),
        ({"video": {"dtype": "object", "shape": [3]}}, "video of object"),
        ({"video": {"dtype": "uint8", "shape": [9000, 9000]}}, "bytes a row"),
        ({"video": {"dtype": "uint8", "shape": [900, 900]}}, "bytes that are not there"),
        ({"speech": {"train": [["clip0"]], "validation": []}}, "damaged"),
    ],
)
def test_an_index_with_a_fault(root: Path, change: dict[str, Any], words: str) -> None:
    write_json(root / "index.json", {**INDEX, **change})
    with pytest.raises(InputError, match=words):
        open_shards(root)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b"null"])
def test_an_index_that_is_none(root: Path, content: bytes) -> None:
    (root / "index.json").write_bytes(content)
    assert "expected a JSON object in" in sentence(lambda: open_shards(root))


def test_shards_that_are_not_finished(root: Path) -> None:
    (root / "index.json").unlink()
    assert are_shards(root)
    assert "let edge-lupi train shards finish" in sentence(lambda: open_shards(root))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frames_at": [10**9, 512]}, "bytes that are not there"),
        ({"frames_at": [-512, 512]}, "bytes that are not there"),
        ({"frames": [2**62, 20]}, "bytes that are not there"),
        ({"frames": [2**70, 20]}, "damaged"),
        ({"video": [1]}, "columns of unlike length"),
        ({"label": ["plain", "bright"]}, "damaged"),
        ({"label": [-1, 0]}, "not listed"),
        ({"names": None}, "damaged"),
    ],
)
def test_a_table_with_a_fault(root: Path, change: dict[str, Any], words: str) -> None:
    write_json(table_path(root, 1), {**read_json(table_path(root, 1)), **change})
    assert words in sentence(lambda: open_shards(root))


def test_a_shard_that_is_cut_short(root: Path) -> None:
    whole = shard_path(root, 1).read_bytes()
    shard_path(root, 1).write_bytes(whole[:-512])
    assert f"train-000001.tar has {len(whole) - 512} bytes, not {len(whole)}" in sentence(lambda: open_shards(root))
    shard_path(root, 1).unlink()
    assert "has -1 bytes" in sentence(lambda: open_shards(root))


class Payload:
    """Unpickled, it writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.target, "I ran")


def hostile(trace: Path) -> dict[str, bytes]:
    objects = io.BytesIO()
    np.lib.format.write_array(objects, np.array([Payload(trace)] * 20, object), allow_pickle=True)
    longer = io.BytesIO()
    np.lib.format.write_array_header_1_0(longer, {"descr": "<f2", "fortran_order": False, "shape": (10**12, 80)})
    return {
        "pickled array": objects.getvalue(),
        "pickle": pickle.dumps(Payload(trace)),
        "other type": array_bytes(np.zeros((20, 80), np.float32)),
        "too long": longer.getvalue(),
        "nothing": bytes(1000),
        "header of code": b"\x93NUMPY\x01\x00\x76\x00" + b"__import__('os').system('x')".ljust(117) + b"\n",
    }


@pytest.mark.parametrize("kind", sorted(hostile(Path("trace"))))
def test_members_that_are_no_plain_array(root: Path, tmp_path: Path, kind: str) -> None:
    shards, trace = open_shards(root), tmp_path / "trace"
    with shard_path(root, 0).open("r+b") as tar:
        tar.seek(int(shards.columns["frames_at"][0]))
        tar.write(hostile(trace)[kind])
    said = sentence(lambda: read(open_shards(root), 0, "frames", LOG_MEL, 0, 20))
    assert "train-000000.tar is damaged: expected float16 (20, 80)" in said
    assert not trace.exists()


def test_json_is_written_at_once(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"é": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"b": object()})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"é": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
