"""Work for the thread that listens, done between two blocks of sound: callables in, what they give out, through a bounded queue."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, TimeoutError
from threading import Lock
from typing import Any, TypeVar

from edge_lupi.errors import InputError

__all__ = ["Between"]

Answer = TypeVar("Answer")
MOST_WAITING = 32
PATIENCE_SECONDS = 5.0


class Between:
    """A queue that the listening thread empties; others put short work into it, which must wait for nothing itself."""

    def __init__(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience_seconds = patience_seconds
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._lock = Lock()

    def ask(self, work: Callable[[], Answer]) -> Answer:
        """Have it done, and wait for what it gives or raises. Raises InputError where it is not done soon; then it is left out."""
        future = self.tell(work)
        try:
            return future.result(self._patience_seconds)
        except TimeoutError as error:
            if not future.cancel():
                return future.result(self._patience_seconds)  # it has just begun
            with self._lock:
                self._waiting = deque(pair for pair in self._waiting if pair[0] is not future)
            raise InputError("the listener hears no sound at the moment: try again when it does") from error

    def tell(self, work: Callable[[], Answer]) -> Future[Answer]:
        """Have it done with the next block, whenever that comes. Raises InputError where too much waits already."""
        self.check_room()
        future: Future[Answer] = Future()
        with self._lock:
            self._waiting.append((future, work))
        return future

    def check_room(self) -> None:
        """Raises InputError where too much waits already."""
        if len(self._waiting) >= MOST_WAITING:
            raise InputError(f"{MOST_WAITING} changes wait for the listener, which hears no sound: try again later")

    def run(self) -> None:
        """Do what was asked until now. For the thread that listens."""
        if not self._waiting:
            return
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
        for future, work in waiting:
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except Exception as error:  # is raised again where it was asked
                future.set_exception(error)
