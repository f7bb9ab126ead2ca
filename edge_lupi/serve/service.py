"""A service: many clients' streams through one listener. Sound is put by the server's thread; here it is heard, in one thread.

Served ─┐
Served ─┼─► every 20 ms all that has come ─► listener, one batch ─► events ─► each to its own stream, all to the page
Served ─┘
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from threading import Event as Bell
from threading import Lock
from typing import Any

from edge_lupi.errors import DeviceError
from edge_lupi.page.enrolling import Enrolling
from edge_lupi.page.output import PageOutput
from edge_lupi.page.people import People
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.speakers.gallery import Gallery
from edge_lupi.serve.counts import Counts
from edge_lupi.serve.request import Request
from edge_lupi.serve.stream import QUEUE_SECONDS, Served
from edge_lupi.words import json_text

__all__ = ["Service"]

TICK_SECONDS = 0.02  # what comes within it shares a batch
IDLE_SECONDS = 0.1  # how soon stopping is seen where no sound comes
LATE_SECONDS = 5.0  # a listener that has not looked for so long does not work
STOP_SECONDS = 3.0  # to hear what waits, once stopped
GOODBYE_SECONDS = 1.0  # for the last lines of all clients to be sent
KEPT_NOTICES = 20
STOPPED = "the service has stopped"
FAILED = "the service has failed: connect again once it was started anew"


class Service:
    """`run` listens until it is told to stop; everything else is for the server's thread. `listener.begin` is called here."""

    def __init__(self, listener: Listener, gallery: Gallery | None, most_streams: int = 32) -> None:
        self.listener, self.most_streams = listener, most_streams
        self.listening, self.output, self.counts = listener.begin(), PageOutput(), Counts()
        self.tasks = [{"name": task.name, "kind": task.kind} for task in listener.tasks]
        comparing = [ear for ear in listener.ears if any(task.verifies for task in ear.tasks)]
        enrolling = Enrolling(comparing[0].bundle) if comparing else None
        self.people = People(gallery, self.listening, self.output, Lock(), enrolling)
        self._streams: dict[str, Served] = {}
        self._bell, self._lock = Bell(), Lock()
        self._is_over = False  # nobody listens any more
        self._ticked_seconds = time.monotonic()
        self._batches = 0
        self._notices = 0  # of the listener's, that clients were told

    @property
    def streams(self) -> list[Served]:
        """Those that are open."""
        with self._lock:
            return list(self._streams.values())

    @property
    def is_well(self) -> bool:
        """Whether the listener's thread goes round."""
        return not self._is_over and time.monotonic() - self._ticked_seconds < LATE_SECONDS

    def join(self, asked: Request, rung: Callable[[], None] = lambda: None) -> Served:
        """A new stream. Raises DeviceError where there are as many as there may be, or nobody listens any more."""
        with self._lock:
            if self._is_over:
                raise DeviceError(STOPPED)
            if len(self._streams) >= self.most_streams:
                self.counts.refused += 1
                raise DeviceError(
                    f"{self.most_streams} streams are open already: close one, or serve more", options=("streams",)
                )
            self.counts.streams += 1
            first = asked.name or f"stream {self.counts.streams}"
            names = (first, *(f"{first} ({number})" for number in range(2, self.most_streams + 2)))
            stream = Served(next(name for name in names if name not in self._streams), rung, drops=asked.drops)
            self._streams[stream.name] = stream
        stream.tell(json_text({"type": "begin", "stream": stream.name, "tasks": self.tasks, **self._terms(asked)}))
        return stream

    def arrived(self) -> None:
        """Something was put into a stream, or one has ended."""
        self._bell.set()

    def run(self, is_stopped: Callable[[], bool]) -> None:
        """Listen until stopped; then what waits is still heard, if that does not take long.

        However it ends, every client is told so, and no more are taken; a fault in listening is raised after that.
        """
        reason = FAILED
        try:
            while not is_stopped():
                self._bell.wait(IDLE_SECONDS)
                time.sleep(TICK_SECONDS)
                self.tick()
            reason = STOPPED
        finally:
            self._end_all(reason)

    def tick(self) -> None:
        """Hear what has come of every stream, as one batch; end the streams that are over."""
        self._bell.clear()
        self.output.between.run()
        streams = self.streams
        ended = [stream for stream in streams if stream.has_ended]  # before what they still held is taken
        blocks = [block for stream in streams for block in stream.take()]
        self._hear(blocks)
        for stream in ended:
            if stream.fill_seconds == 0:
                self._end(stream)
        if any(stream.fill_seconds for stream in streams):
            self._bell.set()
        if blocks or not streams:
            self.output.last_block_seconds = time.monotonic()
        self._ticked_seconds = time.monotonic()

    def totals(self) -> dict[str, float]:
        """What the listener counts."""
        heard = self.listening.statistics
        return {
            "seconds": heard.heard_seconds,
            "segments": heard.segments,
            "encoded": heard.encoded,
            "batches": self._batches,
            "people": len(self.people.names),
        }

    def _terms(self, asked: Request) -> dict[str, Any]:
        return {
            "rate": asked.rate,
            "format": asked.format,
            "channels": asked.channels,
            "full": asked.full,
            "queue_seconds": QUEUE_SECONDS,
            "algorithm_seconds": round(self.listener.algorithm_seconds, 3),
        }

    def _hear(self, blocks: list[Block]) -> None:
        before = self.listening.statistics.encoded
        for number, block in enumerate(blocks, start=1):
            if self.people.enrolling:
                self.people.enrolling.hand_on(block)
            for event in self.listening.push(replace(block, more=number < len(blocks))):
                self._tell(event)
        self._batches += self.listening.statistics.encoded > before
        self._tell_notices()

    def _tell(self, event: Any) -> None:
        self.counts.event(event)
        self.output.event(event)
        stream = self._streams.get(event.stream)
        if stream:
            stream.tell(replace(event, stream=None).to_json())

    def _tell_notices(self) -> None:
        """What the listener has to say about a stream's sound, such as that it came by telephone."""
        notices = self.listening.statistics.notices
        for notice in notices[self._notices :]:
            for stream in self.streams:
                if notice.startswith(f"{stream.name}: "):
                    words = notice.removeprefix(f"{stream.name}: ")
                    stream.tell(json_text({"type": "notice", "notice": words}))
        del notices[:-KEPT_NOTICES]
        self._notices = len(notices)

    def _end_all(self, reason: str) -> None:
        with self._lock:
            self._is_over, last = True, list(self._streams.values())
        for stream in last:
            stream.end(reason)
        try:
            end_seconds = time.monotonic() + STOP_SECONDS
            while reason == STOPPED and self.streams and time.monotonic() < end_seconds:
                self.tick()
        finally:
            for stream in self.streams:
                self._finish(stream)
            end_seconds = time.monotonic() + GOODBYE_SECONDS
            for stream in last:
                stream.is_closed.wait(max(0.0, end_seconds - time.monotonic()))

    def _end(self, stream: Served) -> None:
        for event in self.listening.end(stream.name):
            self._tell(event)
        self._finish(stream)

    def _finish(self, stream: Served) -> None:
        with self._lock:
            del self._streams[stream.name]
        self.counts.ended(stream)
        self.output.history.add(json_text({"stream": stream.name}), "left")
        error = {"error": stream.error} if stream.error else {}
        stream.finish(json_text({"type": "end", "seconds": round(stream.seconds, 3), **stream.counts, **error}))
