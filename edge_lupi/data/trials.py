"""Verification trials, VoxCeleb style: lines of `label path path` -> list of Trial. Plain text or gzip.

    1 id10270/x6uYqmx31kE/00001.wav id10270/8jEAjG6SegY/00008.wav

Label 1: the same speaker. Reading a list does not look at the audio; `check_recordings` does.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_lupi.disk import kind_of, read_bounded
from edge_lupi.errors import InputError
from edge_lupi.words import printable

__all__ = ["Trial", "check_recordings", "missing_files", "read_trials", "speakers_of"]

# VoxCeleb1-E, the longest list in use, has 580,000 lines and 43 MB
LARGEST_BYTES = 1 << 27  # unpacked or not
MOST_LINES = 750_000
LONGEST_LINE = 10_000


@dataclass(frozen=True, slots=True)
class Trial:
    """Is the voice in `test` that in `enrol`? `target` is the truth."""

    target: bool
    enrol: Path
    test: Path


def read_trials(path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> list[Trial]:
    """Every trial of a list, in its order; paths are relative to `root`, or to the list's own folder."""
    file = Path(path)
    base = file.parent if root is None else Path(root)
    paths: dict[str, Path] = {}  # each once: a recording is in many trials
    trials = [
        _trial(file, number, line.split(), base, paths) for number, line in enumerate(_lines(file), 1) if line.strip()
    ]
    if not trials:
        raise InputError(f"expected lines of `label path path` in {file}, got none: give a trial list")
    return trials


def missing_files(trials: Iterable[Trial]) -> list[Path]:
    """The files of the trials that are not there, each once, sorted."""
    files = {path for trial in trials for path in (trial.enrol, trial.test)}
    return sorted(path for path in files if kind_of(path) != "file")


def check_recordings(trials: Iterable[Trial]) -> None:
    """Raise InputError where a recording of the trials is not there."""
    if missing := missing_files(trials):
        raise InputError(
            f"expected the recordings of the trials, got {len(missing)} missing, the first {missing[0]}: name as data the folder that the list's paths begin in",
            options=("data",),
        )


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


def _trial(file: Path, number: int, fields: list[str], base: Path, paths: dict[str, Path]) -> Trial:
    if len(fields) != 3 or fields[0] not in ("0", "1"):
        line = " ".join(fields)
        raise InputError(f"expected `0 or 1, path, path` in {file} line {number}, got {line[:80]!r}: correct the line")
    for name in fields[1:]:
        if name not in paths:
            paths[name] = base / name
    return Trial(fields[0] == "1", paths[fields[1]], paths[fields[2]])


def _lines(file: Path) -> Iterator[str]:
    """Line after line, unpacked only as far as it is read: of a packed file nobody knows how long it is."""
    packed = io.BytesIO(read_bounded(file, LARGEST_BYTES, "a trial list"))
    zipped = file.suffix == ".gz"
    text = io.TextIOWrapper(gzip.GzipFile(fileobj=packed) if zipped else packed, "utf-8-sig")
    left = LARGEST_BYTES
    try:
        for _ in range(MOST_LINES):
            line = text.readline(LONGEST_LINE)
            left -= len(line)
            if not line:
                return
            if left < 0 or len(line) == LONGEST_LINE:
                break
            yield line
        else:
            if not text.readline(1):
                return
    except UnicodeDecodeError as error:
        raise InputError(f"expected UTF-8 text in {file}, got other bytes: save it as UTF-8") from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"expected gzipped text at {file}, got none ({printable(str(error))}): check the path"
        ) from error
    raise InputError(
        f"expected a trial list of at most {MOST_LINES} lines and {LARGEST_BYTES >> 20} MiB in {file}, each below {LONGEST_LINE} letters, got more: check the file"
    )
