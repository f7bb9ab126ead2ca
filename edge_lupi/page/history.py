"""Bounded history of messages, numbered: a listener adds, any number of browsers read what is newer than what they have.

    listener ─► add ─► | 41 42 43 ... 97 | ─► since(40)   all of it
                       oldest is dropped    ─► since(12)   all of it, and that 28 were missed

Nobody who reads can make it grow, or make the listener wait for longer than it takes to copy it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice
from threading import Lock

__all__ = ["History", "Message", "News"]

MOST = 2_000  # messages: over a quarter of an hour of one stream


@dataclass(frozen=True)
class Message:
    """One line of JSON and what kind it is, with its place in the history, from 1 on."""

    number: int
    kind: str
    text: str


@dataclass(frozen=True)
class News:
    """What is newer, and how many messages before it are gone."""

    messages: list[Message]
    missed: int = 0


class History:
    """The newest messages. For any thread."""

    def __init__(self, most: int = MOST) -> None:
        self._messages: deque[Message] = deque(maxlen=most)
        self._last = 0
        self._lock = Lock()

    def add(self, text: str, kind: str = "heard") -> None:
        """One more message; the oldest goes where there are too many."""
        with self._lock:
            self._last += 1
            self._messages.append(Message(self._last, kind, text))

    def since(self, number: int) -> News:
        """Everything after the message of this number; after one that is yet to come, as of another run, everything."""
        with self._lock:
            number = number if 0 <= number <= self._last else 0
            wanted = self._last - number
            kept = min(wanted, len(self._messages))
            return News(list(islice(self._messages, len(self._messages) - kept, None)), wanted - kept)
