"""Corpus from folders: `root/<label>/*.wav` -> Corpus. The simplest way to bring one's own recordings.

    recordings/
      alice/  monday.wav  tuesday.wav
      bob/    monday.wav

Where the task compares voices, the folder's name is the speaker too; otherwise nobody knows who spoke. Where a pattern says how
files are called, as `{speaker}/{label}/*` or `{speaker}_{label}_*`, label and speaker are read from the path.
"""

from __future__ import annotations

from pathlib import Path

from edge_lupi.data.pattern import Pattern
from edge_lupi.data.utterance import Corpus, Utterance
from edge_lupi.disk import entries, kind_of
from edge_lupi.errors import InputError
from edge_lupi.task import verifies
from edge_lupi.words import printable

__all__ = ["holds_sounds_elsewhere", "is_folder", "read_folder"]

LICENCE = "unknown: the user's own recordings"
SUFFIXES = frozenset({".flac", ".mp3", ".ogg", ".wav"})


def is_folder(root: Path) -> bool:
    """Whether some folder in it holds a sound file."""
    return any(_sounds(label) for label in _labels(root))


def holds_sounds_elsewhere(root: Path) -> bool:
    """Whether sound files lie beside where a folder is looked for: directly in it, or two folders deep."""
    inner = [deep for label in _labels(root) for deep in _labels(label)]
    return any(_sounds(place) for place in (root, *inner))


def read_folder(root: Path, task: str | None = None, pattern: str = "") -> Corpus:
    """Every sound file one level down, or as deep as the pattern is; files with other endings are passed over."""
    if pattern:
        return _read_by(Pattern(pattern), root, task)
    if not is_folder(root):
        endings = ", ".join(sorted(SUFFIXES))
        raise InputError(
            f"expected folders with sound files ({endings}) in {root}, got none: make one folder for each label"
        )
    labels, named = [label for label in _labels(root) if _sounds(label)], verifies(task)
    utterances = tuple(
        Utterance(f"{label.name}/{audio.name}", audio, label.name, label.name if named else None)
        for label in labels
        for audio in _sounds(label)
    )
    return Corpus(root.resolve().name, utterances, LICENCE, tuple(label.name for label in labels), root)


def _read_by(pattern: Pattern, root: Path, task: str | None) -> Corpus:
    needed = "speaker" if verifies(task) else "label"
    if needed not in pattern.names:
        raise InputError(
            f"expected {{{needed}}} in the pattern for task {task or 'of classes'}, got {pattern.text!r}: say where it stands"
        )
    folders = [root]
    for _ in range(pattern.depth - 1):
        folders = [inner for folder in folders for inner in _labels(folder)]
    files = [audio for folder in folders for audio in _sounds(folder)]
    names = [audio.relative_to(root) for audio in files]
    of_names = [pattern.read(name.with_suffix("").as_posix()) for name in names]
    odd = [printable(str(name)) for name, fields in zip(names, of_names, strict=True) if fields is None]
    if odd or not files:
        got = f"{len(odd)} of {len(files)} sound files that do not ({odd[0]})" if odd else "no sound file so deep"
        raise InputError(
            f"expected the files in {root} to be called as {pattern.text!r}, got {got}: change the pattern, or move them away"
        )
    utterances = tuple(
        Utterance(name.as_posix(), audio, fields[needed], fields.get("speaker"))
        for name, audio, fields in zip(names, files, of_names, strict=True)
        if fields is not None
    )
    return Corpus(root.resolve().name, utterances, LICENCE, tuple(sorted({u.label for u in utterances})), root)


def _labels(root: Path) -> list[Path]:
    return [path for path in entries(root) if not path.name.startswith(".") and kind_of(path) == "folder"]


def _sounds(label: Path) -> list[Path]:
    return [
        path
        for path in entries(label)
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and kind_of(path) == "file"
    ]
