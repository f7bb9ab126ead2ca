"""RAVDESS: 24 actors, 8 emotions, and the facial action units of the same takes. Folder -> Corpus.

`labels.csv` names clip, audio, actor, emotion and fold; `video_au_mean35.csv` holds 35 action units per clip, averaged over
its frames by OpenFace. No actor is in two folds (Livingstone and Russo 2018, doi 10.5281/zenodo.1188976).
"""

from __future__ import annotations

from pathlib import Path

from edge_lupi.data.readers.rows import Row, read_rows
from edge_lupi.data.utterance import Corpus, Utterance, Video
from edge_lupi.disk import kind_of

__all__ = ["TASKS", "is_ravdess", "read_ravdess"]

TASKS = ("emotion", "speaker")
LICENCE = "CC BY-NC-SA 4.0: what is trained on it is for non-commercial use"
COLUMNS = ("clip", "audio", "actor", "emotion", "emotion_id", "fold")


def is_ravdess(root: Path) -> bool:
    """Whether the folder is laid out as above."""
    return all(kind_of(root / name) == "file" for name in ("labels.csv", "video_au_mean35.csv"))


def read_ravdess(root: Path, task: str = "emotion") -> Corpus:
    """Every clip with its action units. Labels are the emotions in the order of their numbers, or the actors."""
    rows = read_rows(root / "labels.csv", COLUMNS)
    units = _action_units(root / "video_au_mean35.csv")
    utterances = tuple(_utterance(row, task, units) for row in rows)
    emotions = sorted({(_number(row, "emotion_id"), row["emotion"]) for row in rows})
    labels = [name for _, name in emotions] if task == "emotion" else sorted({row.label for row in utterances})
    return Corpus("ravdess", utterances, LICENCE, tuple(labels), root)


def _utterance(row: Row, task: str, units: dict[str, Video]) -> Utterance:
    actor = f"actor_{_number(row, 'actor'):02d}"
    return Utterance(
        name=row["clip"],
        audio=row.file("audio"),
        label=row["emotion"] if task == "emotion" else actor,
        speaker=actor,
        video=units.get(row["clip"]),
        split=f"fold{_number(row, 'fold')}",
    )


def _action_units(path: Path) -> dict[str, Video]:
    rows = read_rows(path, ("clip",))
    return {row["clip"]: Video(features=_numbers(row)) for row in rows}


def _numbers(row: Row) -> tuple[float, ...]:
    try:
        return tuple(float(value) for column, value in row.values.items() if column != "clip")
    except ValueError as error:
        raise row.fault("numbers", str(error), "correct the cell") from error


def _number(row: Row, column: str) -> int:
    try:
        return int(row[column])
    except ValueError as error:
        raise row.fault(f"a whole number under {column}", repr(row[column]), "correct the cell") from error
