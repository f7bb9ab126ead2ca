"""EmoDB: ten German actors, seven emotions, everyday sentences. Folder with `labels.csv` and `audio/` -> Corpus.

`split` is one of five folds of two actors each (Burkhardt et al. 2005, "A database of German emotional speech"). There is no
video.
"""

from __future__ import annotations

from pathlib import Path

from edge_lupi.data.readers.rows import Row, lines_of, read_rows
from edge_lupi.data.utterance import Corpus, Utterance
from edge_lupi.disk import kind_of

__all__ = ["TASKS", "is_emodb", "read_emodb"]

TASKS = ("emotion", "speaker")
LICENCE = "EmoDB (Burkhardt et al. 2005), given free for research: what is trained on it is for non-commercial use"
COLUMNS = ("audio", "label", "speaker", "sex", "sentence")
FOLDS = 5


def is_emodb(root: Path) -> bool:
    """Whether the folder is laid out as above."""
    table = root / "labels.csv"
    return kind_of(table) == "file" and next(lines_of(table), "").startswith(",".join(COLUMNS))


def read_emodb(root: Path, task: str = "emotion") -> Corpus:
    """Every sentence; labels are the emotions, or the actors as `emodb_03`."""
    rows = read_rows(root / "labels.csv", COLUMNS)
    order = {speaker: number for number, speaker in enumerate(sorted({row["speaker"] for row in rows}))}
    utterances = tuple(_utterance(row, task, order) for row in rows)
    return Corpus("emodb", utterances, LICENCE, tuple(sorted({u.label for u in utterances})), root)


def _utterance(row: Row, task: str, order: dict[str, int]) -> Utterance:
    speaker = f"emodb_{row['speaker']}"
    return Utterance(
        name=Path(row["audio"]).stem,
        audio=row.file("audio"),
        label=row["label"] if task == "emotion" else speaker,
        speaker=speaker,
        split=f"fold{order[row['speaker']] % FOLDS}",
    )
