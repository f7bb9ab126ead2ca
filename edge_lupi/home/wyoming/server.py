"""The Wyoming service: an address in, clients served until a signal comes. Sound is heard in one thread beside the clients'."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from wyoming.event import Event

from edge_lupi.errors import DeviceError
from edge_lupi.home.wyoming.address import TcpAddress
from edge_lupi.home.wyoming.heard import Spoken
from edge_lupi.home.wyoming.policy import Policy
from edge_lupi.home.wyoming.protocol import MOST_HEADER_BYTES, let_go, why, write_event
from edge_lupi.home.wyoming.session import Session
from edge_lupi.home.wyoming.upstream import Gone, asr_programs
from edge_lupi.home.wyoming.utterance import Worker
from edge_lupi.loop_faults import say_faults
from edge_lupi.runtime.listening.listener import Listener

__all__ = ["serve"]

log = logging.getLogger(__name__)

MOST_CLIENTS = 32


async def serve(
    address: TcpAddress,
    upstream: TcpAddress,
    listener: Listener,
    policy: Policy,
    told: Callable[[Spoken, bool], None] = lambda spoken, is_admitted: None,
) -> None:
    """Serve until Ctrl-C or SIGTERM. `told` is given who spoke, and whether they were let through. Raises DeviceError."""
    say_faults(asyncio.get_running_loop())
    with ThreadPoolExecutor(1, thread_name_prefix="heard") as thread:
        clients = _Clients(Worker(listener, thread, policy, upstream, told))
        try:
            server = await asyncio.start_server(clients.come, address.host, address.port, limit=MOST_HEADER_BYTES)
        except OSError as error:
            raise DeviceError(
                f"could not serve at {address} ({why(error)}): choose another", options=("uri",)
            ) from error
        port = server.sockets[0].getsockname()[1]
        log.info(f"the Wyoming service is at {TcpAddress(address.host, port)}")
        looking = asyncio.ensure_future(_look_for(upstream))  # a recogniser that hangs holds up no end
        try:
            await _stopped()
        finally:
            looking.cancel()
            server.close()
            await clients.send_away()


async def _stopped() -> None:
    """Ctrl-C, or SIGTERM."""
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()


class _Clients:
    """Those who are there; a bounded number."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._tasks = set[asyncio.Task[None]]()

    async def come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One more, unless there are too many."""
        if len(self._tasks) >= MOST_CLIENTS:
            full = {"text": f"expected at most {MOST_CLIENTS} clients, got one more", "code": "busy"}
            with suppress(OSError):
                await write_event(writer, Event("error", full))
            let_go(writer)
            return
        task = asyncio.ensure_future(Session(self._worker, reader, writer).run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait([task])

    async def send_away(self) -> None:
        """At the end."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2.0)


async def _look_for(upstream: TcpAddress) -> None:
    """Say at the start where the recogniser is not there; it may come later."""
    try:
        programs = await asr_programs(upstream)
    except Gone as error:
        log.warning(str(error), extra={"options": error.options})
    else:
        log.info(f"before {programs[0]['name']} at {upstream}")
