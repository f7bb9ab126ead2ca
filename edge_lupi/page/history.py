"""Bounded history of messages, numbered: a listener adds, any number of browsers read what is newer than what they have.

    listener ─► add ─► | 41 42 43 ... 97 | ─► since(40)   all of it
                       oldest is dropped    ─► since(12)   all of it, and that 28 were missed

Nobody who reads can make it grow, or make the listener wait for longer than it takes to copy it. Who is called by another
name, or forgotten, is so in all that was said before too: a name that nobody has any more is told to nobody, and not kept.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, replace
from itertools import islice
from threading import Lock

from edge_lupi.words import json_text

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
        self.edition = 0  # another one once what was said before is no longer what it was
        self._lock = Lock()

    def add(self, text: str, kind: str = "heard") -> None:
        """One more message; the oldest goes where there are too many."""
        with self._lock:
            self._last += 1
            self._messages.append(Message(self._last, kind, text))

    def renamed(self, old: str, new: str) -> None:
        """Somebody who was called by a name has another one, and always had. What was read until now is to be read anew."""
        written = json_text(old)
        with self._lock:
            self.edition += 1
            for place, message in enumerate(self._messages):
                if written in message.text:
                    self._messages[place] = replace(message, text=_renamed(message.text, old, new))

    def since(self, number: int) -> News:
        """Everything after the message of this number; after one that is yet to come, as of another run, everything."""
        with self._lock:
            number = number if 0 <= number <= self._last else 0
            wanted = self._last - number
            kept = min(wanted, len(self._messages))
            return News(list(islice(self._messages, len(self._messages) - kept, None)), wanted - kept)


def _renamed(text: str, old: str, new: str) -> str:
    fields = json.loads(text)
    return json_text({**fields, **{key: new for key in ("label", "name") if fields.get(key) == old}})
