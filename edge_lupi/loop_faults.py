"""Faults in an asyncio loop that serves others: what its tasks and connections fail with in, a sentence in the log out, now and then.

asyncio itself would write a traceback for each, a hundred at once where there are no open files left.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from contextlib import suppress
from typing import Any

__all__ = ["allow_open_files", "say_faults"]

log = logging.getLogger(__name__)

AGAIN_SECONDS = 60.0  # before the same is said again
OWN_FILES = 128  # that a listener and its libraries have open themselves


def say_faults(loop: asyncio.AbstractEventLoop) -> None:
    """From now on. Nothing of what was sent is in the sentences."""
    said = dict[str, float]()

    def say(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        why = getattr(error, "strerror", None) or type(error).__name__
        sentence = f"a fault while serving ({context.get('message', 'unknown')}; {why}): it goes on"
        if time.monotonic() - said.get(sentence, -AGAIN_SECONDS) >= AGAIN_SECONDS:
            said[sentence] = time.monotonic()
            log.warning(sentence)

    loop.set_exception_handler(say)


def allow_open_files(connections: int) -> None:
    """So many connections, as far as this process may have them: the usual limit is 1,024 files."""
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OWN_FILES
    if least != resource.RLIM_INFINITY and least < wanted:
        with suppress(OSError, ValueError):
            limit = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(least, limit), most))
