"""Any corpus by its path: `read_corpus("ravdess_av", task="emotion") -> Corpus`. The kind is seen from what is there.

| kind        | seen by                              | tasks            |
|-------------|--------------------------------------|------------------|
| ravdess     | labels.csv and video_au_mean35.csv   | emotion, speaker |
| emodb       | labels.csv of its columns            | emotion, speaker |
| librispeech | utterances.csv                       | speaker          |
| grid        | labels.csv and clips/                | digit            |
| voxceleb    | wav/ or aac/ with idNNNNN/           | speaker          |
| table       | a .csv file                          | any              |
| folder      | folders of sound files               | any              |
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_lupi import disk
from edge_lupi.data.readers import emodb, folder, grid, librispeech, ravdess, table, voxceleb
from edge_lupi.data.utterance import Corpus
from edge_lupi.errors import InputError

__all__ = ["KINDS", "CorpusKind", "corpus_kind", "read_corpus"]


@dataclass(frozen=True)
class CorpusKind:
    """How one kind of corpus is recognised and read. `tasks` is empty where labels mean what the user says."""

    recognises: Callable[[Path], bool]
    read: Callable[[Path, str], Corpus]
    tasks: tuple[str, ...]
    needs: str


KINDS = {
    "ravdess": CorpusKind(
        ravdess.is_ravdess, ravdess.read_ravdess, ravdess.TASKS, "labels.csv and video_au_mean35.csv"
    ),
    "emodb": CorpusKind(
        emodb.is_emodb, emodb.read_emodb, emodb.TASKS, "labels.csv with audio,label,speaker,sex,sentence"
    ),
    "librispeech": CorpusKind(
        librispeech.is_librispeech, librispeech.read_librispeech, librispeech.TASKS, "utterances.csv"
    ),
    "grid": CorpusKind(grid.is_grid, grid.read_grid, grid.TASKS, "labels.csv and clips/"),
    "voxceleb": CorpusKind(
        voxceleb.is_voxceleb,
        voxceleb.read_voxceleb,
        voxceleb.TASKS,
        "wav/ or aac/ with idNNNNN/video/NNNNN.wav or .m4a",
    ),
    "table": CorpusKind(table.is_table, table.read_table, (), "a .csv file with audio,label"),
    "folder": CorpusKind(folder.is_folder, folder.read_folder, (), "one folder of sound files per label"),
}


def read_corpus(
    root: str | os.PathLike[str], kind: str | None = None, task: str | None = None, pattern: str = ""
) -> Corpus:
    """The corpus at `root`; `task` picks what the labels are where a corpus has several, and is the first one unless given.

    With a `pattern` of file names it is a folder of one's own, however deep: see `edge_lupi.data.pattern`.
    """
    path = Path(root)
    if pattern and disk.kind_of(path) == "folder" and kind in (None, "folder"):
        return folder.read_folder(path, task, pattern)
    if disk.kind_of(path) == "nothing":
        raise InputError(f"expected a corpus at {path}, got no such file or folder: check the path")
    name = kind or corpus_kind(path)
    if name not in KINDS:
        raise InputError(f"expected a kind of corpus among {', '.join(KINDS)}, got {name!r}: choose one of them")
    reader = KINDS[name]
    lies = disk.kind_of(path)
    if kind and not (lies == "file" if name == "table" else lies == "folder" and reader.recognises(path)):
        raise InputError(
            f"expected a corpus of kind {name} ({reader.needs}) at {path}, got something else: check the path"
        )
    if task and reader.tasks and task not in reader.tasks:
        raise InputError(
            f"expected a task among {', '.join(reader.tasks)} for {name}, got {task!r}: choose one of them"
        )
    return reader.read(path, task or (reader.tasks[0] if reader.tasks else ""))


def corpus_kind(path: Path) -> str:
    """The first kind whose files are there."""
    lies_as_folder = disk.kind_of(path) == "folder"
    for name, kind in KINDS.items():
        if lies_as_folder != (name == "table") and kind.recognises(path):
            return name
    if lies_as_folder and folder.holds_sounds_elsewhere(path):
        raise InputError(
            f"expected a corpus at {path}, got sound files that do not lie in one folder for each speaker or label: "
            "move them there, or say with a pattern what they are called, such as {speaker}/{label}/*"
        )
    kinds = "; ".join(f"{name}: {kind.needs}" for name, kind in KINDS.items())
    raise InputError(f"expected a corpus at {path}, got no kind that is known ({kinds}): arrange the files so")
