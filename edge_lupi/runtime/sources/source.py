"""Sources of sound: a context manager that gives Blocks of float32 [n] at 16 kHz mono and can be stopped.

`stop()` ends the iteration soon; it only sets a flag, so a signal handler may call it.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType, TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lupi.runtime.sources.block import Block

__all__ = ["POLL_SECONDS", "Source", "blocks_of", "say", "stop_on_signals"]

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2  # how soon stop() is seen


class Source:
    """Iterable of Blocks. `live` where it cannot be made to wait, `goes_on` where it takes as long as it is heard."""

    live = False
    goes_on = False

    def __init__(self) -> None:
        self._stopped = False

    @property
    def title(self) -> str:
        """What it is, in words for people."""
        return "sound"

    def stop(self) -> None:
        """End the iteration at the next block."""
        self._stopped = True

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of whatever is open."""

    def __iter__(self) -> Iterator[Block]:
        raise NotImplementedError


def blocks_of(
    samples: NDArray[np.float32],
    channels: Sequence[int] | None = None,
    received_seconds: float | None = None,
    **marks: Any,
) -> Iterator[Block]:
    """float32 [n] as a Block (none where there are no samples and nothing to mark); [n, channels] as one of each channel."""
    if not (len(samples) or marks.get("gap")):
        return
    received = time.perf_counter() if received_seconds is None else received_seconds
    if channels is None:
        yield Block(samples, received, **marks)
        return
    last = len(channels) - 1
    for index, channel in enumerate(channels):
        own = {"more": marks.get("more", False) or index < last, "stream": str(channel) if last else ""}
        once = {"reconnected": marks.get("reconnected", False) and index == 0}  # a device, however many channels it has
        yield Block(np.ascontiguousarray(samples[:, index]), received, **{**marks, **own, **once})


def say(words: str) -> None:
    """One sentence on stderr, of what somebody should know while it goes on."""
    log.warning(words)


def stop_on_signals(source: Source) -> Callable[[], bool]:
    """Let Ctrl-C and SIGTERM end the source, so that the last events still come; a second Ctrl-C ends the process.

    Gives a question: has one of them come?
    """
    come = list[int]()

    def stop(number: int, _frame: FrameType | None) -> None:
        come.append(number)
        source.stop()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return lambda: bool(come)
