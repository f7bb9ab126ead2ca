"""From a process's start to its exit code: streams that can be written to, and every error as one sentence.

Errors made on purpose are caught where they are made; here is the net under them. `EDGE_LUPI_DEBUG=1` shows where
whatever fell into it came from.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from io import FileIO, TextIOWrapper
from typing import Any, TextIO

from edge_lupi.errors import EdgeLupiError, InputError
from edge_lupi.terminal import log_shown, make_encodable, note, with_flags

__all__ = ["run"]

INTERRUPTED = 130  # as shells have it: 128 and the signal's number
ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "free some space",
    errno.EROFS: "choose a place that can be written",
    errno.EACCES: "check its permissions",
    errno.EPERM: "check its permissions",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOENT: "check the path",
    errno.EMFILE: "allow more open files (ulimit -n)",
}


def run(command: Callable[..., Any]) -> int:
    """Run a Typer application on what was typed; gives the exit code."""
    try:
        _prepare_streams()
        with log_shown():
            code = command(standalone_mode=False) or 0
        sys.stdout.flush()
    except SystemExit as end:  # Typer's, where the reader of our output went away
        return 0 if isinstance(end.__context__, BrokenPipeError) else _number(end.code)
    except BrokenPipeError:  # the same, seen by us; that is its right
        _drop_output()
        return 0
    except BaseException as error:
        return _ended(error)
    if code == INTERRUPTED:
        note("edge-lupi: stopped")
    return _number(code)


def _ended(error: BaseException) -> int:
    """Say why, and drop what can no longer be written."""
    if os.environ.get("EDGE_LUPI_DEBUG", "0") not in ("", "0"):
        _show_trace(error)
    if not _shown(error):
        note(f"edge-lupi: {_sentence(error)}")
    try:
        sys.stdout.flush()
    except (OSError, AttributeError):
        _drop_output()
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__cause__, KeyboardInterrupt):
        return INTERRUPTED
    return _number(getattr(error, "exit_code", 1))


def _shown(error: BaseException) -> bool:
    """Whether it is Typer's, of a mistake in what was typed, and Typer has shown it, with the usage."""
    show = getattr(error, "show", None)
    if not callable(show):
        return False
    try:
        show()
    except Exception:  # standard error on a full disk; an older Typer with a newer Click
        return False
    return True


def _sentence(error: BaseException) -> str:
    if isinstance(error, EdgeLupiError):
        return with_flags(str(error), error.options)
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__cause__, KeyboardInterrupt):
        return "stopped"
    words = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
    if hasattr(error, "exit_code"):  # Typer's, which it could not show itself
        return f"{words.rstrip('.')}: see --help"
    if isinstance(error, OSError) and error.strerror:
        what = "an output" if error.filename is None else os.fsdecode(error.filename)
        advice = ADVICE.get(error.errno or 0, "check the path, the disk and the device")
        return f"{what} cannot be read or written ({error.strerror}): {advice}"
    if isinstance(error, UnicodeError):
        return f"a text is in another encoding than expected ({words}): save it as UTF-8"
    if isinstance(error, MemoryError):
        return f"there is not enough memory ({words}): close other programs, or give it less at once"
    if isinstance(error, RecursionError):
        return "something is nested too deeply to be read: check the files that were given"
    if isinstance(error, OverflowError):
        return f"a number is too large ({words}): check the numbers that were given"
    if isinstance(error, ImportError):
        return f"a library cannot be loaded ({words}): install edge-lupi anew"
    kind = type(error).__name__
    return f"a fault of edge-lupi itself ({kind}: {words}): please report it with what EDGE_LUPI_DEBUG=1 shows"


def _prepare_streams() -> None:
    """Descriptors 0 to 2 are taken, so that no file of ours gets their numbers and with them what libraries print.

    Raises InputError where standard output is closed: before any work is done, which nobody would hear of.
    """
    for number in range(3):
        if not _is_open(number):
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)
    elif sys.__stderr__ is not None and sys.stderr is sys.__stderr__:
        sys.stderr = _apart(sys.__stderr__)
    make_encodable(sys.stderr)
    if sys.stdout is None:
        raise InputError("expected a standard output, got a closed one: send it somewhere, as to /dev/null")
    make_encodable(sys.stdout)


def _apart(stderr: TextIO) -> TextIO:
    """The same on a descriptor of its own: what C libraries print on 2 can then be held back (`native_lines`)."""
    raw = FileIO(
        os.dup(2), "w", closefd=False
    )  # unbuffered, as Python's own is: what cannot be written waits for no exit
    return TextIOWrapper(raw, stderr.encoding, stderr.errors, write_through=True)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _drop_output() -> None:
    """What waits to be written goes nowhere, or the interpreter would try again at its end."""
    if sys.stdout is sys.__stdout__ and sys.stdout is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _show_trace(error: BaseException) -> None:
    from traceback import format_exception

    for part in format_exception(error):
        for line in part.rstrip("\n").split("\n"):
            note(line)


def _number(code: object) -> int:
    return code if isinstance(code, int) else int(code is not None)
