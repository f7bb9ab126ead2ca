"""Who spoke when, in the field's own format: Turns in, lines of RTTM out, and back.

    SPEAKER two_voices 1 0.500 3.390 <NA> <NA> alice <NA> <NA>

Rich Transcription Time Marked, NIST RT-09 evaluation plan, appendix A: type, file, channel, start and duration in
seconds, orthography, subtype, speaker, confidence, look-ahead. Fields are parted by white space and hold none.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from types import TracebackType

from edge_lupi.disk import kind_of, read_bounded
from edge_lupi.errors import InputError
from edge_lupi.metrics.diarisation import Stretch
from edge_lupi.runtime.outputs.turns import Output, Turn
from edge_lupi.terminal import note
from edge_lupi.words import printable

__all__ = ["RttmFile", "read_rttm", "rttm_line"]

MAX_FILE_BYTES = 1 << 28


class RttmFile(Output):
    """Writes each turn of a task as it ends, so that a process that is killed loses none of these.

    The file that a line names is the input that a stream comes from. What a file of this path held is replaced where it
    ends in .rttm; any other file is left alone. Raises InputError where it cannot be written from the start. Where it no
    longer can be later, that is said once, `is_whole` is False, and listening goes on: what was written ends with a line.
    """

    def __init__(self, path: str | Path, inputs: Sequence[str], task: str) -> None:
        self.path = Path(path)
        self.is_whole = True
        self._names = _names(inputs)
        self._task = task
        self._file: FileIO | None = None
        self._written_bytes = 0
        _check_place(self.path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def passed(self, stream: str, seconds: float) -> None:
        """Sound came, so the file is begun; it stays empty where nobody speaks."""
        self._write("")

    def turn(self, turn: Turn) -> None:
        """Write it, down to the operating system."""
        if turn.task == self._task:
            self._write(rttm_line(turn, self._name(turn.stream)) + "\n")

    def _write(self, text: str) -> None:
        if not self.is_whole:
            return
        try:
            self._file = self._file or FileIO(self.path, "w")
            left = text.encode()
            while left:
                left = left[self._file.write(left) or 0 :]
            self._written_bytes += len(text.encode())
        except OSError as error:
            self.is_whole = False
            note(f"edge-lupi: {self.path} cannot be written ({error.strerror}): listening goes on without it")
            self._close()

    def _close(self) -> None:
        if self._file is None:
            return
        with suppress(OSError):  # nothing is buffered here, and a disk that is full may say so once more
            if not self.is_whole:
                self._file.truncate(self._written_bytes)  # the part of a line
            self._file.close()
        self._file = None

    def _name(self, stream: str) -> str:
        """What the format calls a file: without folder and ending, as in references; then the channel if it is one of several."""
        if not stream:
            return next(iter(self._names.values()))
        if stream in self._names:
            return self._names[stream]
        source, _, channel = stream.rpartition(":")
        return f"{self._names.get(source, next(iter(self._names.values())))}:{channel}"


def _check_place(path: Path) -> None:
    """Raises InputError where a file of this path cannot be written, or is one that must stay."""
    kind = kind_of(path)
    if path.suffix != ".rttm" and (kind in ("folder", "other") or (kind == "file" and path.stat().st_size)):
        raise InputError(f"{path} exists and is not named .rttm: remove it or choose another --rttm")
    if kind in ("folder", "other"):
        raise InputError(f"expected a file to write at {path}, got something else: choose another --rttm")
    if kind_of(path.parent) != "folder" or not os.access(path if kind == "file" else path.parent, os.W_OK):
        raise InputError(f"could not write {path} (no such folder, or no permission): choose another --rttm")


def rttm_line(turn: Turn, name: str) -> str:
    """A turn as a line, without its end."""
    seconds = turn.end_seconds - turn.start_seconds
    return f"SPEAKER {_field(name)} 1 {turn.start_seconds:.3f} {seconds:.3f} <NA> <NA> {_field(turn.label)} <NA> <NA>"


def read_rttm(path: str | Path) -> dict[str, list[Stretch]]:
    """Who speaks when, by file name, in the order of time. Raises InputError naming the line that is not RTTM."""
    try:
        lines = read_bounded(path, MAX_FILE_BYTES, "an RTTM file").decode().splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"expected a readable RTTM file, got {path} ({error}): save it as UTF-8") from error
    found: dict[str, list[Stretch]] = {}
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":  # the format has other types, and comments (;;)
            continue
        name, stretch = _stretch(fields, f"{path}:{number}")
        found.setdefault(name, []).append(stretch)
    return {name: sorted(stretches, key=lambda s: s.start_seconds) for name, stretches in found.items()}


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


def _names(inputs: Sequence[str]) -> dict[str, str]:
    """Name by input: its stem, or all of it where two stems are the same."""
    stems = ["stdin" if name == "-" else Path(name).stem for name in inputs]
    return {name: name if stems.count(stem) > 1 else stem for name, stem in zip(inputs, stems, strict=True)}


def _field(text: str) -> str:
    """The text without white space or what steers a terminal; never empty."""
    return "_".join(printable(text).split()) or "<NA>"
