"""Verification trials, VoxCeleb style: lines of `label path path` -> list of Trial. Plain text or gzip.

    1 id10270/x6uYqmx31kE/00001.wav id10270/8jEAjG6SegY/00008.wav

Label 1: the same speaker. Reading a list does not look at the audio; `missing_files` does.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edge_lupi.data.rows import read_text
from edge_lupi.errors import InputError

__all__ = ["Trial", "missing_files", "read_trials", "speakers_of"]

LARGEST_BYTES = 1 << 30  # unpacked; VoxCeleb1-H, the longest list in use, is 40 MB


@dataclass(frozen=True)
class Trial:
    """Is the voice in `test` that in `enrol`? `target` is the truth."""

    target: bool
    enrol: Path
    test: Path


def read_trials(path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> list[Trial]:
    """Every trial of a list, in its order; paths are relative to `root`, or to the list's own folder."""
    file = Path(path)
    base = file.parent if root is None else Path(root)
    text = _unpacked(file) if file.suffix == ".gz" else read_text(file)
    trials = [
        _trial(file, number, line.split(), base) for number, line in enumerate(text.splitlines(), 1) if line.strip()
    ]
    if not trials:
        raise InputError(f"expected lines of `label path path` in {file}, got none: give a trial list")
    return trials


def missing_files(trials: Iterable[Trial]) -> list[Path]:
    """The files of the trials that are not there, each once, sorted."""
    files = {path for trial in trials for path in (trial.enrol, trial.test)}
    return sorted(path for path in files if not path.is_file())


def speakers_of(trials: Iterable[Trial]) -> dict[Path, int]:
    """A number for who speaks in each recording: recordings that target trials join, directly or not, share one.

    A speaker whose recordings no target trial joins counts as several.
    """
    above: dict[Path, Path] = {}

    def first(path: Path) -> Path:
        above.setdefault(path, path)
        while above[path] != path:
            above[path] = above[above[path]]
            path = above[path]
        return path

    for trial in trials:
        enrol, test = first(trial.enrol), first(trial.test)
        if trial.target:
            above[enrol] = test
    numbers: dict[Path, int] = {}
    return {path: numbers.setdefault(first(path), len(numbers)) for path in list(above)}


def _trial(file: Path, number: int, fields: list[str], base: Path) -> Trial:
    if len(fields) != 3 or fields[0] not in ("0", "1"):
        line = " ".join(fields)
        raise InputError(f"expected `0 or 1, path, path` in {file} line {number}, got {line[:80]!r}: correct the line")
    return Trial(fields[0] == "1", base / fields[1], base / fields[2])


def _unpacked(file: Path) -> str:
    try:
        with gzip.open(file) as packed:
            content = packed.read(LARGEST_BYTES + 1)
        if len(content) > LARGEST_BYTES:
            raise InputError(f"expected at most 1 GiB of text in {file}, got more: give a trial list")
        return content.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"expected gzipped text at {file}, got none ({error}): check the path") from error
