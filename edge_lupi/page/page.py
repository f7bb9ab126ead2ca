"""A live page of one run: served from entering to leaving, an Output for its events, and kept up after the sound has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from threading import Lock

from edge_lupi.page.address import Address
from edge_lupi.page.app import PageApp
from edge_lupi.page.enrolling import Enrolling
from edge_lupi.page.output import PageOutput
from edge_lupi.page.people import People
from edge_lupi.page.server import PageServer
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.sources.source import POLL_SECONDS
from edge_lupi.runtime.speakers.gallery import Gallery

__all__ = ["Page"]


class Page:
    """`listening` is the run, `output` goes among its outputs, and `server` is entered around it. Raises DeviceError where the port is taken."""

    def __init__(self, address: Address, listener: Listener, gallery: Gallery | None) -> None:
        self.listening, self.output = listener.begin(), PageOutput()
        comparing = [ear for ear in listener.ears if any(task.verifies for task in ear.tasks)]
        self._enrolling = Enrolling(comparing[0].bundle) if comparing else None
        people = People(gallery, self.listening, self.output, Lock(), self._enrolling)
        tasks = [{"name": task.name, "kind": task.kind} for task in listener.tasks]
        self.server = PageServer(PageApp(self.output, people, tasks), address)

    def handing_on(self, source: Iterable[Block]) -> Iterable[Block]:
        """The same blocks, for the listener, with an ear for enrolment."""
        return self._enrolling.handing_on(source) if self._enrolling else source

    def stay(self, until: Callable[[], bool]) -> None:
        """After the end of the sound: still there to be looked at, and to give names."""
        self.output.has_ended = True
        while not until():
            self.output.between.run()
            time.sleep(POLL_SECONDS)
