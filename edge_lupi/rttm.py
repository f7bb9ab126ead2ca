"""RTTM, the field's own format of who spoke when: stretches to lines and back.

    SPEAKER two_voices 1 0.500 3.390 <NA> <NA> alice <NA> <NA>

Rich Transcription Time Marked, NIST RT-09 evaluation plan, appendix A: type, file, channel, start and duration in
seconds, orthography, subtype, speaker, confidence, look-ahead. Fields are parted by white space and hold none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_lupi.disk import read_bounded
from edge_lupi.errors import InputError
from edge_lupi.words import printable

__all__ = ["Stretch", "read_rttm", "rttm_line"]

MAX_FILE_BYTES = 1 << 28


@dataclass(frozen=True)
class Stretch:
    """Somebody speaks from `start_seconds` up to `end_seconds`."""

    start_seconds: float
    end_seconds: float
    label: str


def rttm_line(stretch: Stretch, name: str) -> str:
    """A stretch of the file `name` as a line, without its end."""
    start, seconds = stretch.start_seconds, stretch.end_seconds - stretch.start_seconds
    return f"SPEAKER {_field(name)} 1 {start:.3f} {seconds:.3f} <NA> <NA> {_field(stretch.label)} <NA> <NA>"


def read_rttm(path: str | Path) -> dict[str, list[Stretch]]:
    """Who speaks when, by file name, in the order of time. Raises InputError naming the line that is not RTTM."""
    try:
        lines = read_bounded(path, MAX_FILE_BYTES, "an RTTM file").decode().splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"expected a readable RTTM file, got {path} ({error}): save it as UTF-8") from error
    by_file: dict[str, list[Stretch]] = {}
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":  # the format has other types, and comments (;;)
            continue
        name, stretch = _stretch(fields, f"{path}:{number}")
        by_file.setdefault(name, []).append(stretch)
    return {name: sorted(stretches, key=lambda s: s.start_seconds) for name, stretches in by_file.items()}


def _stretch(fields: Sequence[str], place: str) -> tuple[str, Stretch]:
    try:
        start, seconds, name, label = float(fields[3]), float(fields[4]), fields[1], fields[7]
    except (ValueError, IndexError) as error:
        raise InputError(
            f"{place}: expected SPEAKER file 1 start duration <NA> <NA> speaker ...: correct it"
        ) from error
    if not (0 <= start < float("inf") and 0 <= seconds < float("inf")):
        raise InputError(f"{place}: expected a start and a duration from 0, got {start} and {seconds}: correct it")
    return name, Stretch(start, start + seconds, label)


def _field(text: str) -> str:
    """The text without white space or what steers a terminal; never empty."""
    return "_".join(printable(text).split()) or "<NA>"
