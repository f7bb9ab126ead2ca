"""Corpus from a table: CSV with the columns `audio,label[,speaker][,video][,split]` -> Corpus.

    audio,label,speaker,split
    monday/01.wav,happy,alice,train
    monday/02.wav,angry,bob,test

Paths are absolute or relative to the CSV. A split is train, validation or test, in any usual spelling, or the name of a
fold. `video` is a video file or a `.npy` with float [N, V], one row per frame at 25 fps.
"""

from __future__ import annotations

from pathlib import Path

from edge_lupi.data.readers.rows import Row, read_rows
from edge_lupi.data.splits import split_name
from edge_lupi.data.utterance import Corpus, Utterance, Video
from edge_lupi.disk import kind_of
from edge_lupi.errors import InputError
from edge_lupi.task import verifies
from edge_lupi.words import folder_word

__all__ = ["is_table", "read_table"]

REQUIRED = ("audio", "label")
OPTIONAL = ("speaker", "video", "split")
LICENCE = "unknown: the user's own recordings"


def is_table(root: Path) -> bool:
    """Whether it is a CSV file."""
    return root.suffix.lower() == ".csv" and kind_of(root) == "file"


def read_table(root: Path, task: str | None = None) -> Corpus:
    """Every line of the list. Where the task compares voices and there is no speaker column, the label is the speaker."""
    rows = read_rows(root, REQUIRED, OPTIONAL)
    first_line: dict[str, int] = {}
    for row in rows:
        if first_line.setdefault(row["audio"], row.line) != row.line:
            raise row.fault(
                "every file once", f"{row['audio']!r} of line {first_line[row['audio']]} again", "remove one"
            )
    utterances = tuple(_utterance(row, task) for row in rows)
    return Corpus(root.stem, utterances, LICENCE, tuple(sorted({row["label"] for row in rows})), root.parent)


def _utterance(row: Row, task: str | None) -> Utterance:
    speaker = row["label"] if verifies(task) and "speaker" not in row.values else row.get("speaker")
    video = Video(path=row.file("video")) if row.get("video") else None
    return Utterance(row["audio"], row.file("audio"), row["label"], speaker, video, _split(row))


def _split(row: Row) -> str | None:
    """It may become the name of a folder, where it is a fold of a sweep."""
    word = row.get("split")
    try:
        return word and folder_word(split_name(word), "a split")
    except InputError as error:
        raise InputError(f"{error}, in {row.path} line {row.line}") from error
