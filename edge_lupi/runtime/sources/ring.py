"""Ring buffer between the microphone's callback and the listener: bounded, thread-safe, counting what it lost.

In: arrays float32 [n] or [n, channels] from one writer. Out: the same arrays, in order, as Blocks. When the reader is
too slow the oldest arrays go first; the Block after them says so, so that nothing is ever joined across the hole. Half
the ring goes at once: one hole now and then leaves whole segments between them, a small one every time would not.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_lupi.runtime.sources.block import Block

__all__ = ["Ring"]


@dataclass(frozen=True, eq=False)
class _Entry:
    samples: NDArray[np.float32]
    received_seconds: float
    lost_before: int


class Ring:
    """Holds at most `capacity_samples`; writing never waits for the reader unless it asks for room (the lock guards a few appends, no copy)."""

    def __init__(self, capacity_samples: int) -> None:
        if capacity_samples < 1:
            raise ValueError(f"expected a capacity of at least one sample, got {capacity_samples}")
        self.capacity_samples = capacity_samples
        self.dropped = 0
        self.peak_fill = 0
        self._entries: deque[_Entry] = deque()
        self._fill = 0
        self._lost_at_head = 0  # dropped here, not yet in a block
        self._lost_at_tail = 0  # lost before the ring, for the next write
        self._dropped_until_here = 0
        self._woken = False
        self._changed = threading.Condition()

    @property
    def fill(self) -> int:
        """Samples waiting to be read."""
        return self._fill

    @property
    def oldest_received_seconds(self) -> float:
        """When the oldest block that waits was written; now, where none does."""
        with self._changed:
            return self._entries[0].received_seconds if self._entries else time.perf_counter()

    def wait_for_room(self, samples: int, timeout_seconds: float) -> bool:
        """Whether so many fit without anything dropped (any number where nothing waits), now or after so long."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._entries or self._fill + samples <= self.capacity_samples, timeout_seconds
            )

    def wake(self) -> None:
        """Let a reader that waits look up before its time is over."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def write(self, samples: NDArray[np.float32]) -> None:
        """Hand over an array that nobody changes afterwards; the oldest ones make room for it."""
        received = time.perf_counter()
        with self._changed:
            self._entries.append(_Entry(samples, received, self._lost_at_tail))
            self._lost_at_tail = 0
            self._fill += len(samples)
            if self._fill > self.capacity_samples:
                self._drop_oldest_down_to(self.capacity_samples // 2)
            self.peak_fill = max(self.peak_fill, self._fill)
            self._changed.notify_all()

    def lose(self, samples: int) -> None:
        """Count samples that were lost before they could be written."""
        with self._changed:
            self._lost_at_tail += samples
            self.dropped += samples

    def read(self, timeout_seconds: float | None = None) -> Block | None:
        """The oldest block; waits for one, and gives None when none came in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._entries or self._woken, timeout_seconds)
            if not self._entries:
                self._woken = False
                return None
            entry = self._entries.popleft()
            self._fill -= len(entry.samples)
            lost = self._lost_at_head + entry.lost_before
            self._lost_at_head = 0
            self._dropped_until_here += lost
            more = bool(self._entries)
            self._changed.notify_all()  # a writer may wait for room
            return Block(entry.samples, entry.received_seconds, self._dropped_until_here, gap=lost > 0, more=more)

    def _drop_oldest_down_to(self, fill_samples: int) -> None:
        while self._fill > fill_samples:
            entry = self._entries.popleft()
            self._fill -= len(entry.samples)
            self._lost_at_head += entry.lost_before + len(entry.samples)
            self.dropped += len(entry.samples)
