"""The one place through which everything is printed: lines for people, lines of JSON for programs, notes beside them.

    say("alice", "bob")          standard output, a line each
    say_json({"name": "alice"})  standard output, one line of ASCII without NaN
    say_done("alice is kept")    that work is done: where standard output cannot be written, on standard error
    note("no microphone found")  standard error
    progress("40 %")             the same, over the progress before it where that is a terminal
    with log_shown(): ...        meanwhile what the library logs is said as notes

No word from outside steers a terminal (`words.printable`), or breaks a line in two. Letters that a locale lacks are
escaped. Output that cannot be written is an InputError; a note that cannot be is lost, as nobody reads it.
"""

from __future__ import annotations

import codecs
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from shutil import get_terminal_size
from typing import Any, TextIO

from edge_lupi.errors import InputError
from edge_lupi.words import json_text, numbers_or_none, printable

__all__ = [
    "log_shown",
    "make_encodable",
    "note",
    "progress",
    "say",
    "say_done",
    "say_json",
    "with_flags",
    "write_line",
]

ESCAPED = "edge-lupi-escaped"  # the name of our way with letters that an encoding lacks
_under_way: TextIO | None = None  # the terminal whose line is one of progress, and another will take its place
PLAIN = {"–": "-", "°": "deg"}  # what our own sentences have beyond ASCII


def say(*lines: str) -> None:
    """Lines on standard output. Raises InputError where it cannot be written."""
    _end_progress()
    for line in lines:
        write_line(sys.stdout, printable(line))


def say_json(value: Any) -> None:
    """A value as one line of JSON on standard output; numbers that are none are null. Raises InputError as `say` does."""
    write_line(sys.stdout, json_text(numbers_or_none(value)))


def say_done(*lines: str) -> None:
    """Say that something is done and kept. It stays so where standard output cannot be written: then a note says it."""
    try:
        say(*lines)
    except (InputError, BrokenPipeError):
        for line in lines:
            note(line)


def note(sentence: str) -> None:
    """A sentence on standard error, beside what is asked for."""
    _end_progress()
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            _write(sys.stderr, f"{printable(sentence)}\n")


def progress(words: str, *, last: bool = True) -> None:
    """How far work has come, on standard error: in a terminal each takes the place of the one before, until the last."""
    if not _in_a_terminal():
        note(words)
        return
    global _under_way
    fitting = printable(words)[: max(1, get_terminal_size().columns - 1)]  # a line that wraps could not be taken back
    with suppress(OSError, ValueError):
        _write(sys.stderr, f"\r\x1b[K{fitting}" + "\n" * last)
    _under_way = None if last else sys.stderr


def _end_progress() -> None:
    """What comes next does not stand behind progress that ended early."""
    global _under_way
    if _under_way is not None and _under_way is sys.stderr:
        with suppress(OSError, ValueError):
            _write(sys.stderr, "\r\x1b[K")
    _under_way = None


class _Notes(logging.Handler):
    """Log records as notes: a warning begins with the program's name, progress takes the place of the progress before.

    `extra={"options": ("fresh",)}` of a record is as `EdgeLupiError.options`.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Say it; what is logged often is for a terminal alone, and nothing else below INFO is shown."""
        words = with_flags(record.getMessage(), getattr(record, "options", ()))
        is_progress = getattr(record, "progress", False)
        if record.levelno < logging.INFO and not (is_progress and _in_a_terminal()):
            return
        if is_progress:
            progress(words, last=getattr(record, "last", True))
        else:
            note(f"edge-lupi: {words}" if record.levelno >= logging.WARNING else words)


def with_flags(sentence: str, options: Sequence[str]) -> str:
    """A sentence of the library with the flags to type for these options, as `(--replace, --keep-audio)`."""
    flags = ", ".join(f"--{name.replace('_', '-')}" for name in options)
    return f"{sentence} ({flags})" if flags else sentence


@contextmanager
def log_shown() -> Iterator[None]:
    """Meanwhile whatever the library logs is a note on standard error, once, whoever else handles log records."""
    log = logging.getLogger("edge_lupi")
    if any(isinstance(handler, _Notes) for handler in log.handlers):
        yield
        return
    handler, level, propagate = _Notes(), log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate


def write_line(out: TextIO | None, line: str) -> None:
    """A line that is fit to be printed, down to the operating system. Raises InputError where it cannot be written."""
    try:
        if out is None:
            raise OSError("closed")
        _write(out, f"{line}\n")
    except BrokenPipeError:  # the reader went away; that is its right
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"expected an output that can be written, got an error ({reason}): send it elsewhere, or free some space"
        ) from error


def make_encodable(out: object) -> None:
    """Let a stream escape the letters that its encoding lacks, as in ASCII or Latin-1."""
    if isinstance(out, TextIOWrapper):
        out.reconfigure(errors=ESCAPED)


def _write(out: TextIO, text: str) -> None:
    out.write(text)
    out.flush()


def _in_a_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """`codecs.register_error`: a dash for a dash, and an escape as in Python for every other letter."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    plain = (PLAIN.get(letter) or letter.encode("ascii", "backslashreplace").decode() for letter in letters)
    return "".join(plain), error.end


codecs.register_error(ESCAPED, _escaped)
