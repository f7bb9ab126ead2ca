"""LibriSpeech excerpts: 248 readers, one chapter each. Folder with `utterances.csv` -> Corpus whose labels are the speakers.

The column `role` is the split: 200 speakers `train`, 48 others `held_out`, each of those with one utterance cut in two.
"""

from __future__ import annotations

from pathlib import Path

from edge_lupi.data.readers.rows import read_rows
from edge_lupi.data.utterance import Corpus, Utterance
from edge_lupi.disk import kind_of

__all__ = ["TASKS", "is_librispeech", "read_librispeech"]

TASKS = ("speaker",)
LICENCE = "CC BY 4.0"
COLUMNS = ("audio", "speaker", "role")


def is_librispeech(root: Path) -> bool:
    """Whether the folder is laid out as above."""
    return kind_of(root / "utterances.csv") == "file"


def read_librispeech(root: Path, task: str = "speaker") -> Corpus:
    """Every utterance; label and speaker are the reader's number."""
    rows = read_rows(root / "utterances.csv", COLUMNS)
    utterances = tuple(
        Utterance(
            name=Path(row["audio"]).stem,
            audio=row.file("audio"),
            label=row["speaker"],
            speaker=row["speaker"],
            split=row["role"],
        )
        for row in rows
    )
    return Corpus("librispeech", utterances, LICENCE, tuple(sorted({row["speaker"] for row in rows})), root)
