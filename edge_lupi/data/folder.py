"""A folder of folders: `root/<label>/*.wav` -> Corpus. The simplest way to bring one's own recordings.

    recordings/
      alice/  monday.wav  tuesday.wav
      bob/    monday.wav

When the task is "speaker" the folder's name is the speaker too; otherwise nobody knows who spoke.
"""

from __future__ import annotations

from pathlib import Path

from edge_lupi.data.utterance import Corpus, Utterance
from edge_lupi.disk import entries, kind_of
from edge_lupi.errors import InputError

__all__ = ["is_folder", "read_folder"]

LICENCE = "unknown: the user's own recordings"
SUFFIXES = frozenset({".flac", ".mp3", ".ogg", ".wav"})


def is_folder(root: Path) -> bool:
    """Whether some folder in it holds a sound file."""
    return any(_sounds(label) for label in _labels(root))


def read_folder(root: Path, task: str | None = None) -> Corpus:
    """Every sound file one level down, in the order of the names; files with other endings are passed over."""
    if not is_folder(root):
        endings = ", ".join(sorted(SUFFIXES))
        raise InputError(
            f"expected folders with sound files ({endings}) in {root}, got none: make one folder for each label"
        )
    labels = [label for label in _labels(root) if _sounds(label)]
    utterances = tuple(
        Utterance(f"{label.name}/{audio.name}", audio, label.name, label.name if task == "speaker" else None)
        for label in labels
        for audio in _sounds(label)
    )
    return Corpus(root.resolve().name, utterances, LICENCE, tuple(label.name for label in labels), root)


def _labels(root: Path) -> list[Path]:
    return [path for path in entries(root) if not path.name.startswith(".") and kind_of(path) == "folder"]


def _sounds(label: Path) -> list[Path]:
    return [
        path
        for path in entries(label)
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and kind_of(path) == "file"
    ]
