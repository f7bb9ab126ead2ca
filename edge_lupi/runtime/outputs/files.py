"""A file written while listening: text in as it comes, down to the operating system, so that a kill loses none of it.

What a file of this path held is replaced where it has an ending of its kind; any other file is left alone. Raises
InputError where it cannot be written from the start. Where it no longer can be later, that is said once, `is_whole` is
False, and listening goes on: what was written ends with a line.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from types import TracebackType

from edge_lupi.disk import write_at_once
from edge_lupi.runtime.outputs.place import check_place
from edge_lupi.runtime.outputs.turns import Output, Turn

__all__ = ["StreamNames", "TurnFile", "WrittenFile"]

log = logging.getLogger(__name__)


class WrittenFile(Output):
    """Begun with the first sound, so it stays empty where nobody speaks. `option` is what asks for it."""

    endings: tuple[str, ...] = ()
    option = ""
    head = ""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.is_whole = True
        self._file: FileIO | None = None
        self._written_bytes = 0
        check_place(self.path, self.endings, self.option)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def passed(self, stream: str, seconds: float) -> None:
        """Sound came, so the file is begun."""
        self._write("")

    def _write(self, text: str) -> None:
        if not self.is_whole:
            return
        try:
            if self._file is None:
                self._file = FileIO(self.path, "w")
                text = self.head + text
            left = text.encode()
            while left:
                left = left[self._file.write(left) or 0 :]
            self._written_bytes += len(text.encode())
        except OSError as error:
            self._fail(error, "listening goes on without it")
            self._close()

    def _fail(self, error: OSError, what_now: str) -> None:
        self.is_whole = False
        log.warning(f"{self.path} cannot be written ({error.strerror}): {what_now}")

    def _close(self) -> None:
        if self._file is None:
            return
        with suppress(OSError):  # nothing is buffered here, and a disk that is full may say so once more
            if not self.is_whole:
                self._file.truncate(self._written_bytes)  # the part of a line
            self._file.close()
        self._file = None


class TurnFile(WrittenFile):
    """The turns of one task, each as it ends. `revise` puts others in their place, at once or not at all."""

    def __init__(self, path: str | Path, inputs: Sequence[str], task: str) -> None:
        super().__init__(path)
        self.names = StreamNames(inputs)
        self._task = task
        self._count = 0

    def text(self, turn: Turn, number: int) -> str:
        """A turn as the format has it; the first one is number 1."""
        raise NotImplementedError

    def turn(self, turn: Turn) -> None:
        """Write it."""
        if turn.task == self._task:
            self._count += 1
            self._write(self.text(turn, self._count))

    def revise(self, turns: Sequence[Turn]) -> None:
        """Hold these in place of what was written. Where that fails it is said, and what was written stays."""
        self._close()
        own = sorted((turn for turn in turns if turn.task == self._task), key=lambda turn: turn.start_seconds)
        text = self.head + "".join(self.text(turn, number) for number, turn in enumerate(own, 1))
        try:
            place = Path(
                os.path.realpath(self.path)
            )  # a link stays one, and what others may not read they still may not
            write_at_once(place, text.encode(), stat.S_IMODE(place.stat().st_mode) if place.exists() else 0o644)
        except OSError as error:
            self._fail(error, "it holds what was said live")


class StreamNames:
    """What a format calls the input that a stream comes from."""

    def __init__(self, inputs: Sequence[str]) -> None:
        stems = ["stdin" if name == "-" else Path(name).stem for name in inputs]
        self._names = {name: name if stems.count(stem) > 1 else stem for name, stem in zip(inputs, stems, strict=True)}

    def of(self, stream: str) -> str:
        """Without folder and ending, as in references; all of it where two are the same; then the channel if it is one of several."""
        if not stream:
            return next(iter(self._names.values()))
        if stream in self._names:
            return self._names[stream]
        source, _, channel = stream.rpartition(":")
        return f"{self._names.get(source, next(iter(self._names.values())))}:{channel}"
