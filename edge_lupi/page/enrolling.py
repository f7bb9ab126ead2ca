"""Enrolment from the sound that a running listener hears: its blocks are handed on, and another thread learns the voice.

The listener only puts a block into a bounded queue. Where the other thread is so late that the queue is full, the enrolment
ends with a sentence; the listener goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from queue import Empty, Full, Queue
from threading import Lock

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.errors import InputError
from edge_lupi.runtime.enrolment.enrolment import enroll
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.sources.source import Source
from edge_lupi.runtime.speakers.gallery import Gallery

__all__ = ["Enrolling"]

SECONDS = 10.0  # of speech, as `edge-lupi enroll` asks for
MOST_BLOCKS = 2_000  # 20 s of a microphone's
QUIET_SECONDS = 5.0  # without any block


class _HandedOn(Source):
    """The blocks of one stream, from the queue."""

    live = True

    def __init__(self, stream: str) -> None:
        super().__init__()
        self.stream = stream
        self.is_late = False
        self.blocks: Queue[Block] = Queue(MOST_BLOCKS)

    def __iter__(self) -> Iterator[Block]:
        while not self.is_late:
            yield self._next()
        raise InputError("this computer is too slow to enrol while it listens: use edge-lupi enroll")

    def _next(self) -> Block:
        try:
            return self.blocks.get(timeout=QUIET_SECONDS)
        except Empty:
            raise InputError("the listener hears no sound at the moment: try again when it does") from None


class Enrolling:
    """One enrolment at a time. `percent` is how far it is; None where there is none."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._source: _HandedOn | None = None
        self._lock = Lock()
        self.percent: float | None = None

    def handing_on(self, source: Iterable[Block]) -> Iterator[Block]:
        """The same blocks, for the listener."""
        for block in source:
            self.hand_on(block)
            yield block

    def hand_on(self, block: Block) -> None:
        """One more block that the listener hears."""
        wanted = self._source
        if wanted is not None and wanted.stream == block.stream:
            try:
                wanted.blocks.put_nowait(block)
            except Full:
                wanted.is_late = True

    def enroll(self, name: str, gallery: Gallery, stream: str) -> str:
        """Learn the voice of who speaks from now on, into the gallery's file; gives what is to be said. Raises InputError."""
        if not self._lock.acquire(blocking=False):
            raise InputError("expected one enrolment at a time, got another: wait until it is over")
        try:
            self._source = _HandedOn(stream)
            self._progress(0.0)
            learnt = enroll(name, self._bundle, gallery.path, [self._source], SECONDS, progress=self._progress)
        finally:
            self._source = self.percent = None
            self._lock.release()
        like = f"; sounds like {learnt.resembles[0]}, they may be taken for each other" if learnt.resembles else ""
        return f"{learnt.name} is enrolled with {learnt.speech_seconds:.1f} s of speech{like}"

    def _progress(self, percent: float) -> None:
        self.percent = percent
