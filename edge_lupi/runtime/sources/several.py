"""Several sources as one: Blocks in, the same Blocks out with the name of their stream.

Files take turns, a block each, so that all are at the same time of their streams. Where one cannot be made to wait
(a microphone, a pipe), each has a thread, and blocks come as they come; a listener that is late stops the threads, and
what cannot wait then loses its oldest sound in its own ring, and counts it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from queue import Empty, Queue
from types import TracebackType

from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.sources.source import POLL_SECONDS, Source

__all__ = ["Several"]

WAITING_BLOCKS = 4  # per source, between its thread and the listener


class Several(Source):
    """Sources by name. A stream is called by its source's name; one of several channels is `name:channel`."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        super().__init__()
        self._sources = sources
        self._open = ExitStack()
        self.live = any(source.live for source in sources.values())
        self.goes_on = any(source.goes_on for source in sources.values())

    @property
    def title(self) -> str:
        """What they are, in words for people."""
        return " and ".join(source.title for source in self._sources.values())

    def stop(self) -> None:
        """End all of them."""
        super().stop()
        for source in self._sources.values():
            source.stop()

    def __enter__(self) -> Several:
        with ExitStack() as opening:
            for source in self._sources.values():
                opening.enter_context(source)
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def __iter__(self) -> Iterator[Block]:
        return self._as_they_come() if self.live else self._in_turn()

    def _in_turn(self) -> Iterator[Block]:
        streams = {name: _named(name, source) for name, source in self._sources.items()}
        while streams:
            for name in list(streams):
                block = next(streams[name], None)
                if block is None:
                    del streams[name]
                else:
                    yield replace(block, more=block.more or name != next(reversed(streams)))

    def _as_they_come(self) -> Iterator[Block]:
        coming: Queue[Block | BaseException | None] = Queue(WAITING_BLOCKS * len(self._sources))
        threads = [
            threading.Thread(target=_hand_on, args=(name, source, coming), name=f"edge-lupi {name}", daemon=True)
            for name, source in self._sources.items()
        ]
        for thread in threads:
            thread.start()
        try:
            yield from self._until_all_end(coming, len(threads))
        finally:
            self.stop()
            while any(thread.is_alive() for thread in threads):
                _take(coming)

    def _until_all_end(self, coming: Queue[Block | BaseException | None], running: int) -> Iterator[Block]:
        while running:
            item = coming.get()
            if isinstance(item, Block):
                yield replace(item, more=not coming.empty())
            elif item is None:
                running -= 1
            else:
                raise item


def _named(name: str, source: Source) -> Iterator[Block]:
    return (replace(block, stream=f"{name}:{block.stream}" if block.stream else name) for block in source)


def _hand_on(name: str, source: Source, coming: Queue[Block | BaseException | None]) -> None:
    """A thread's work; it ends with None, or with what went wrong."""
    try:
        for block in _named(name, source):
            coming.put(block)
    except BaseException as error:  # raised again where the listener is
        coming.put(error)
    else:
        coming.put(None)


def _take(coming: Queue[Block | BaseException | None]) -> None:
    """Make room for a thread that waits to hand something on."""
    try:
        coming.get(timeout=POLL_SECONDS)
    except Empty:
        return
