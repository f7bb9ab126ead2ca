"""Result of one training: what the trained file answered for every test utterance. result.json <-> Result."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_lupi.disk import read_bounded, write_at_once
from edge_lupi.errors import InputError
from edge_lupi.settings import make
from edge_lupi.words import json_text

__all__ = ["LARGEST_BYTES", "Result", "read_result", "write_result"]

LARGEST_BYTES = 1 << 28  # of what a training leaves for the table
FILE_NAME = "result.json"


@dataclass(frozen=True)
class Result:
    """`names`, `speakers`, `truth` and each of `said` are of the test utterances [N]; `truth` and `said` index `labels`.

    `key` is that of the training's `Job`. `said` is by condition: "clean", "0 dB". `distance` is that of the utterance
    embeddings to the teacher's, where there is one teacher of the same width. `teachers` are names of arms.
    """

    key: str
    arm: str
    stage: str
    fold: str
    seed: int
    labels: tuple[str, ...]
    names: tuple[str, ...]
    speakers: tuple[str, ...]
    truth: tuple[int, ...]
    said: dict[str, tuple[int, ...]]
    distance: float | None
    seconds: float
    teachers: tuple[str, ...] = ()


def write_result(folder: Path, result: Result) -> None:
    """Write result.json into a training's folder, at once. Raises OSError."""
    write_at_once(folder / FILE_NAME, json_text(asdict(result)).encode())


def read_result(folder: Path) -> Result | None:
    """The result in a training's folder; None where there is none, or its file is damaged."""
    path = folder / FILE_NAME
    try:
        return make(Result, json.loads(read_bounded(path, LARGEST_BYTES, "a result")), str(path), "")
    except (InputError, ValueError, RecursionError):
        return None
