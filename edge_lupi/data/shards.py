"""A corpus cut into shards, for training that reads from disk: folder -> Shards. Tars as WebDataset has them, with an index.

    index.json              what was cut and how: corpus, licence, classes, speakers, settings
    train-000000.tar        of every example KEY.frames.npy (log-mel float16 [F, 80]), KEY.video.npy, KEY.json (its name)
    train-000000.json       where in the tar each of them begins
    speech/train-0000.flac  a little sound: of training for student.pt, of validation for the threshold

Any WebDataset pipeline can stream the tars; `read_array` reads rows of one array by its place, so a crop costs a crop.
Such a folder may come from elsewhere: only plain .npy, JSON and FLAC are read, and nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lupi.data.utterance import Utterance
from edge_lupi.disk import entries, kind_of, read_bounded, write_at_once
from edge_lupi.errors import InputError
from edge_lupi.frames import MELS
from edge_lupi.words import json_text, printable

__all__ = [
    "COLUMNS",
    "FORMAT",
    "LOG_MEL",
    "VERSION",
    "Rows",
    "Shards",
    "are_shards",
    "array_bytes",
    "open_shards",
    "read_array",
    "read_json",
    "shard_path",
    "speech_path",
    "table_path",
    "write_json",
]

FORMAT = "edge-lupi shards"
VERSION = 1
LARGEST_JSON_BYTES = 1 << 26  # a table of 100,000 utterances at three speeds is 25 MB
LARGEST_HEADER_BYTES = 1000  # of a .npy file
MOST_SHARDS = 1_000_000
LARGEST_ROW_BYTES = 1 << 20
COLUMNS = ("label", "speaker", "frames", "frames_at", "video", "video_at")  # of a table, beside the names


@dataclass(frozen=True)
class Rows:
    """Type and shape of one row of an array."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Bytes of one row."""
        return self.dtype.itemsize * int(np.prod(self.shape))


LOG_MEL = Rows(np.dtype("<f2"), (MELS,))
VIDEO_TYPES = ("uint8", "float32")  # grey frames, or features


@dataclass(frozen=True)
class Shards:
    """An opened folder. The columns [N] have one row per example, shard after shard: an utterance at one speed.

    `label` and `speaker` (-1: unknown) are numbers among `classes` (once per speed, where voices are compared) and
    `speakers`; `frames` and `video` are rows, `frames_at` and `video_at` bytes from the beginning of the tar.
    `digest` is of what was cut: of every table, which knows its tar's sha256. `train` and `validation` are the utterances that lie there as sound.
    """

    root: Path
    fingerprint: str
    digest: str
    corpus: str
    licence: str
    labels: tuple[str, ...]
    classes: tuple[str, ...]
    speakers: tuple[str, ...]
    validation_speakers: tuple[str, ...]
    validation_names: tuple[str, ...]
    speaker_dependent: bool
    settings: dict[str, Any]
    utterances: int
    train: tuple[Utterance, ...]
    validation: tuple[Utterance, ...]
    video: Rows | None
    ends: NDArray[np.int64]
    names: NDArray[np.bytes_]
    columns: dict[str, NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.names)

    def shard_of(self, example: int) -> int:
        """Which shard an example lies in; `ends` [shards] has the number of the example after each."""
        return int(np.searchsorted(self.ends, example, side="right"))


def shard_path(root: Path, number: int) -> Path:
    """The tar of a shard."""
    return root / f"train-{number:06d}.tar"


def table_path(root: Path, number: int) -> Path:
    """What says where in a shard everything is; written last, so a shard without is not finished."""
    return root / f"train-{number:06d}.json"


def speech_path(root: Path, side: str, number: int) -> Path:
    """A piece of sound of side train or validation."""
    return root / "speech" / f"{side}-{number:04d}.flac"


def are_shards(root: Path) -> bool:
    """Whether a folder holds shards, finished or not."""
    shard = re.compile(r"train-\d{6}\.(tar|json)")
    return kind_of(root) == "folder" and any(shard.fullmatch(path.name) for path in entries(root))


def open_shards(root: Path) -> Shards:
    """Read index and tables, and check that every shard is as long as it was. No shard is opened."""
    path = root / "index.json"
    if kind_of(path) == "nothing":
        raise InputError(
            f"expected index.json beside the shards in {root}, got none: let edge-lupi train shards finish"
        )
    index = read_json(path)
    if (index.get("format"), index.get("version")) != (FORMAT, VERSION):
        raise InputError(
            f"expected {FORMAT}, version {VERSION}, in {path}, got {index.get('format')!r}, version {index.get('version')!r}: cut them anew"
        )
    try:
        return _opened(root, index)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{path} or a table beside it is damaged ({error}): cut the shards anew") from error


def _opened(root: Path, index: dict[str, Any]) -> Shards:
    count = int(index["shards"])
    if not 0 < count <= MOST_SHARDS:
        raise ValueError(f"{count} shards")
    video = _video(index["video"])
    tables = [_table(root, number, str(index["fingerprint"]), video) for number in range(count)]
    shards = Shards(
        root=root,
        fingerprint=str(index["fingerprint"]),
        digest=hashlib.sha256(json_text([index["fingerprint"], [t.digest for t in tables]]).encode()).hexdigest(),
        corpus=str(index["corpus"]),
        licence=str(index["licence"]),
        labels=tuple(map(str, index["labels"])),
        classes=tuple(map(str, index["classes"])),
        speakers=tuple(map(str, index["speakers"])),
        validation_speakers=tuple(map(str, index["validation_speakers"])),
        validation_names=tuple(map(str, index["validation_names"])),
        speaker_dependent=bool(index["speaker_dependent"]),
        settings=dict(index["settings"]),
        utterances=int(index["utterances"]),
        train=_speech(root, "train", index),
        validation=_speech(root, "validation", index),
        video=video,
        ends=np.cumsum([len(table.names) for table in tables]),
        names=np.concatenate([table.names for table in tables]),
        columns={name: np.concatenate([table.columns[name] for table in tables]) for name in COLUMNS},
    )
    label, speaker = shards.columns["label"], shards.columns["speaker"]
    numbers = len(shards.classes) * len(shards.settings["augment.speeds"])
    if not ((label >= 0) & (label < numbers) & (speaker >= -1) & (speaker < len(shards.speakers))).all():
        raise ValueError("a label or speaker that is not listed")
    return shards


def _video(content: Any) -> Rows | None:
    if content is None:
        return None
    shape = tuple(map(int, content["shape"]))
    if content["dtype"] not in VIDEO_TYPES or not 1 <= len(shape) <= 2 or min(shape) < 1:
        raise ValueError(f"video of {content['dtype']} {shape}")
    rows = Rows(np.dtype(content["dtype"]), shape)
    if rows.bytes > LARGEST_ROW_BYTES:
        raise ValueError(f"video of {rows.bytes} bytes a row")
    return rows


@dataclass(frozen=True)
class _Table:
    """Names [n] and columns [n] of a shard, and the sha256 of all that its table says."""

    names: NDArray[np.bytes_]
    columns: dict[str, NDArray[np.int64]]
    digest: str


def _table(root: Path, number: int, fingerprint: str, video: Rows | None) -> _Table:
    """Read and checked: all that it tells of lies inside the tar."""
    path, tar = table_path(root, number), shard_path(root, number)
    table = read_json(path)
    if table["fingerprint"] != fingerprint:
        raise ValueError(f"{path.name} belongs to other shards")
    size = tar.stat().st_size if kind_of(tar) == "file" else -1
    if size != table["bytes"]:
        raise ValueError(f"{tar.name} has {size} bytes, not {table['bytes']}")
    names = np.array([str(name).encode() for name in table["names"]], np.bytes_)
    columns = {name: np.array(table[name], np.int64) for name in COLUMNS}
    if any(column.shape != names.shape for column in columns.values()):
        raise ValueError(f"{path.name} has columns of unlike length")
    for kind, what in ((LOG_MEL, "frames"), (video, "video")):
        if kind is not None:
            count, at = columns[what], columns[f"{what}_at"]
            room = (size - at) // kind.bytes
            if not ((at >= 0) & (at < size) & (count >= 1) & (count <= room)).all():
                raise ValueError(f"{path.name} tells of bytes that are not there")
    return _Table(names, columns, hashlib.sha256(json_text(table).encode()).hexdigest())


def _speech(root: Path, side: str, index: dict[str, Any]) -> tuple[Utterance, ...]:
    listed = index["speech"][side]
    return tuple(
        Utterance(str(name), speech_path(root, side, number), str(label), None if speaker is None else str(speaker))
        for number, (name, label, speaker) in enumerate(listed)
    )


def array_bytes(array: NDArray[Any]) -> bytes:
    """An array as a .npy file; never a pickle."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return file.getvalue()


def read_array(path: Path, at: int, kind: Rows, count: int, first: int, last: int) -> NDArray[Any]:
    """Rows [first, last) of the .npy array of `count` rows that begins at byte `at` of a file."""
    try:
        with path.open("rb") as file:
            file.seek(at)
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("another version of .npy")
            header = np.lib.format.read_array_header_1_0(file, max_header_size=LARGEST_HEADER_BYTES)
            if header != ((count, *kind.shape), False, kind.dtype):
                raise ValueError(f"an array of {header[2]} {header[0]}")
            if not 0 <= first <= last <= count:
                raise ValueError(f"no rows {first} to {last}")
            file.seek(first * kind.bytes, os.SEEK_CUR)
            content = file.read((last - first) * kind.bytes)
        return np.frombuffer(content, kind.dtype).reshape(last - first, *kind.shape)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} is damaged: expected {kind.dtype} {(count, *kind.shape)} at byte {at}, got something else ({error}); cut the shards anew"
        ) from error


def write_json(path: Path, content: dict[str, Any]) -> None:
    """At once or not at all."""
    write_at_once(path, json_text(content).encode())


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of bounded size."""
    try:
        content = json.loads(read_bounded(path, LARGEST_JSON_BYTES, "a table or index of shards"))
        if not isinstance(content, dict):
            raise ValueError("no object")
        return content
    except (InputError, ValueError, RecursionError) as error:
        raise InputError(
            f"expected a JSON object in {path}, got something else ({printable(str(error))[:400]}): cut the shards anew"
        ) from error
