"""What C libraries print on descriptor 2 while a microphone is open: kept out of the terminal, and the last of it for a sentence.

with native_lines() as said:
    ...                      # PortAudio and ALSA print whole stacks of expressions that failed, from threads of their own
    said.reason()            # "Device or resource busy"

Only where Python's own standard error is another descriptor, as the command line arranges it (`entry`): else what a
program prints itself would go the same way. EDGE_LUPI_DEBUG=1 leaves everything where it is.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from contextlib import suppress

__all__ = ["NativeLines"]

MOST_BYTES = 1 << 16  # a pipe's own bound: what nobody reads beyond it is dropped, and no writer waits
STDERR = 2
_ALSA = re.compile(r"ALSA lib \S+ ?\(\w+\) (.+)")


class NativeLines:
    """Descriptor 2 leads into a pipe from `start` to `stop`, which may be nested: the outermost counts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._kept = -1  # where descriptor 2 led before
        self._read = -1

    def start(self) -> None:
        """Take descriptor 2, where it is nobody's own."""
        with self._lock:
            self._depth += 1
            if self._depth > 1 or not _is_free():
                return
            self._read, write = os.pipe()
            for end in (self._read, write):
                os.set_blocking(end, False)
            self._kept = os.dup(STDERR)
            os.dup2(write, STDERR)
            os.close(write)

    def stop(self) -> None:
        """Give it back."""
        with self._lock:
            self._depth -= 1
            if self._depth or self._kept < 0:
                return
            os.dup2(self._kept, STDERR)
            os.close(self._kept)
            os.close(self._read)
            self._kept = self._read = -1

    def reason(self) -> str:
        """What ALSA said last and has not been asked for, as `Device or resource busy`; empty where it said nothing."""
        with self._lock, suppress(OSError):
            if self._read >= 0:
                said = _ALSA.findall(os.read(self._read, MOST_BYTES).decode(errors="replace"))
                return str(said[-1]).strip() if said else ""
        return ""


def _is_free() -> bool:
    """Whether Python's standard error is another descriptor, and nobody looks for faults."""
    if os.environ.get("EDGE_LUPI_DEBUG", "0") not in ("", "0"):
        return False
    try:
        return sys.stderr is not None and sys.stderr.fileno() != STDERR
    except (OSError, ValueError):  # no file, as a notebook's
        return False
