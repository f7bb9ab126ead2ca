"""RTTM file, written while listening: Turns in, a line each as they end."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from types import TracebackType

from edge_lupi.disk import kind_of
from edge_lupi.errors import InputError
from edge_lupi.rttm import Stretch, rttm_line
from edge_lupi.runtime.outputs.turns import Output, Turn

__all__ = ["RttmFile"]

log = logging.getLogger(__name__)


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
            stretch = Stretch(turn.start_seconds, turn.end_seconds, turn.label)
            self._write(rttm_line(stretch, self._name(turn.stream)) + "\n")

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
            log.warning(f"{self.path} cannot be written ({error.strerror}): listening goes on without it")
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
        raise InputError(
            f"{path} exists and is not named .rttm, so it is left alone: choose another name", options=("rttm",)
        )
    if kind in ("folder", "other"):
        raise InputError(f"expected a file to write at {path}, got something else: choose another", options=("rttm",))
    if kind_of(path.parent) != "folder" or not os.access(path if kind == "file" else path.parent, os.W_OK):
        raise InputError(
            f"could not write {path} (no such folder, or no permission): choose another place", options=("rttm",)
        )


def _names(inputs: Sequence[str]) -> dict[str, str]:
    """Name by input: its stem, or all of it where two stems are the same."""
    stems = ["stdin" if name == "-" else Path(name).stem for name in inputs]
    return {name: name if stems.count(stem) > 1 else stem for name, stem in zip(inputs, stems, strict=True)}
