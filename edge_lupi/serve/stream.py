"""One client's stream between two threads: sound waits here for the listener, what is told waits for the client. Both bounded.

client ─► put ─► | sound, at most 10 s | ─► take ─► listener ─► tell ─► | 1,000 lines | ─► news ─► client
          full: the client waits, or the oldest is dropped      full: the oldest is dropped
                and counted, in `waited_seconds`, `dropped`           and counted, in `missed`
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Event as Bell
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.runtime.sources.block import Block

__all__ = ["MOST_LINES", "QUEUE_SECONDS", "Served"]

QUEUE_SECONDS = 10.0
TAKEN_SECONDS = 1.0  # of one stream at a time, so that one that sends a file keeps no other waiting
MOST_LINES = 1_000


@dataclass(frozen=True, eq=False)
class _Piece:
    """Samples [n], when they came, and how many were lost right before them."""

    samples: NDArray[np.float32]
    received_seconds: float
    lost: int


class Served:
    """A stream of this name; `rung` is called whenever there is something for the client, in the listener's thread.

    Counts are of samples at 16 kHz: `dropped` are all that were lost, `dropped_here` those that were lost in this queue.
    """

    def __init__(self, name: str, rung: Callable[[], None] = lambda: None, *, drops: bool = False) -> None:
        self.name = name
        self.drops = drops
        self.heard = self.dropped = self.dropped_here = self.missed = 0
        self.waited_seconds = 0.0
        self.error = ""
        self.is_refused = False
        self.has_ended = False  # no more sound comes
        self.is_over = False  # all is told
        self.is_closed = Bell()  # and was sent, or cannot be
        self._rung = rung
        self._lock = Lock()
        self._pieces: deque[_Piece] = deque()
        self._fill = 0  # samples that wait
        self._lost = 0  # samples before the next piece
        self._lines: deque[str] = deque()
        self._unsaid = 0  # lines that were dropped since the client was told

    @property
    def fill_seconds(self) -> float:
        """Sound that waits for the listener."""
        return self._fill / SAMPLE_RATE_HZ

    @property
    def seconds(self) -> float:
        """How far the stream has come, lost samples counted."""
        return (self.heard + self.dropped) / SAMPLE_RATE_HZ

    @property
    def counts(self) -> dict[str, Any]:
        """What a client is told at the end."""
        return {
            "dropped": self.dropped,
            "dropped_here": self.dropped_here,
            "waited_seconds": round(self.waited_seconds, 3),
            "missed": self.missed,
        }

    def has_room(self, count: int) -> bool:
        """Whether so many samples more may wait."""
        return self._fill == 0 or self._fill + count <= QUEUE_SECONDS * SAMPLE_RATE_HZ

    def put(self, samples: NDArray[np.float32]) -> None:
        """Sound [n] that came now. Where there is no room for it, the oldest gives way."""
        if not len(samples):
            return
        with self._lock:
            self._pieces.append(_Piece(samples, time.perf_counter(), self._lost))
            self._lost = 0
            self._fill += len(samples)
            while self._fill > QUEUE_SECONDS * SAMPLE_RATE_HZ and len(self._pieces) > 1:
                self._drop_oldest()

    def lose(self, count: int) -> None:
        """So many samples are missing before what comes next: the client could not send them."""
        with self._lock:
            self._lost += count

    def end(self, error: str = "") -> None:
        """No more sound comes, for this reason if it is none of the client's; what waits is still heard."""
        self.error = self.error or error
        self.has_ended = True

    def refuse(self, error: str) -> None:
        """What the client sent cannot be heard; what came before it still is."""
        self.is_refused = True
        self.end(error)

    def leave(self) -> None:
        """The client is gone: nothing more is heard of it."""
        with self._lock:
            self._pieces.clear()
            self._fill = 0
        self.has_ended = True

    def take(self) -> list[Block]:
        """The oldest sound, about a second of it at most. For the listener's thread."""
        blocks, room = list[Block](), TAKEN_SECONDS * SAMPLE_RATE_HZ
        with self._lock:
            while self._pieces and room > 0:
                piece = self._pieces.popleft()
                self._fill -= len(piece.samples)
                room -= len(piece.samples)
                blocks.append(self._block(piece))
        return blocks

    def tell(self, line: str) -> None:
        """A line for the client; the oldest gives way where too many wait."""
        with self._lock:
            self._lines.append(line)
            if len(self._lines) > MOST_LINES:
                self._lines.popleft()
                self._unsaid += 1
                self.missed += 1
        self._rung()

    def finish(self, line: str) -> None:
        """The last line."""
        self.tell(line)
        self.is_over = True
        self._rung()

    def news(self) -> tuple[list[str], int]:
        """The lines that wait, and how many before them are gone."""
        with self._lock:
            lines, unsaid = list(self._lines), self._unsaid
            self._lines.clear()
            self._unsaid = 0
        return lines, unsaid

    def _block(self, piece: _Piece) -> Block:
        self.dropped += piece.lost
        self.heard += len(piece.samples)
        return Block(piece.samples, piece.received_seconds, dropped=self.dropped, gap=piece.lost > 0, stream=self.name)

    def _drop_oldest(self) -> None:
        oldest = self._pieces.popleft()
        lost = oldest.lost + len(oldest.samples)
        self._pieces[0] = replace(self._pieces[0], lost=self._pieces[0].lost + lost)
        self._fill -= len(oldest.samples)
        self.dropped_here += len(oldest.samples)
