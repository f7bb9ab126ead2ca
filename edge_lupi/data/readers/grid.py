"""GRID, talker s1: 3 s clips with raw 96x96 video and sound; which digit is said. Folder -> Corpus.

An utterance is one second around the digit, of the sound and of the video alike. One talker speaks everything, so
every figure from this corpus is speaker dependent (Cooke et al. 2006, "An audio-visual corpus for speech perception").
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from edge_lupi.data.readers.rows import Row, read_rows
from edge_lupi.data.utterance import Corpus, Utterance, Video
from edge_lupi.disk import kind_of

__all__ = ["TASKS", "digit_window", "is_grid", "read_grid"]

TASKS = ("digit",)
LICENCE = "GRID corpus, free for research use"
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLUMNS = ("clip", "digit", "word_times_s")
CLIP_SECONDS = 3.0
WINDOW_SECONDS = 1.0  # a digit lasts 0.2 to 0.5 s; the rest is its neighbours
FOLDS = 5


def is_grid(root: Path) -> bool:
    """Whether the folder is laid out as above."""
    return kind_of(root / "labels.csv") == "file" and kind_of(root / "clips") == "folder"


def read_grid(root: Path, task: str = "digit") -> Corpus:
    """Every clip's digit; the ten digits are the labels; `split` is one of five folds drawn from the clip's name."""
    rows = read_rows(root / "labels.csv", COLUMNS)
    return Corpus("grid", tuple(map(_utterance, rows)), LICENCE, DIGITS, root, speaker_dependent=True)


def digit_window(word_times: str, digit: str) -> tuple[float, float] | None:
    """`"bin:0.95-1.18 ... two:1.64-1.89 ..."` -> (start, end) of the second whose middle is the word's, inside the clip."""
    spoken = re.search(rf"(?:^|\s){re.escape(digit)}:([0-9.]+)-([0-9.]+)(?:\s|$)", word_times)
    if spoken is None:
        return None
    middle = (float(spoken[1]) + float(spoken[2])) / 2
    start = round(min(max(0.0, middle - WINDOW_SECONDS / 2), CLIP_SECONDS - WINDOW_SECONDS), 3)
    return start, round(start + WINDOW_SECONDS, 3)


def fold_of(name: str) -> str:
    """A name's fold, the same on every machine and for every order of the files."""
    return f"fold{int(hashlib.sha256(name.encode()).hexdigest(), 16) % FOLDS}"


def _utterance(row: Row) -> Utterance:
    clip = row.file("clip")
    window = digit_window(row["word_times_s"], row["digit"])
    if row["digit"] not in DIGITS or window is None:
        raise row.fault("a digit and its time", f"{row['digit']!r} in {row['word_times_s']!r}", "correct the line")
    return Utterance(clip.stem, clip, row["digit"], "s1", Video(path=clip), fold_of(clip.stem), *window)
