"""The page's server: uvicorn in a thread of its own, beside a listener that never waits for it.

Connections are limited in number, in rate and in time before a byte of them is read, so that whoever floods or stalls the
server takes neither the listener's time nor its files.
"""

from __future__ import annotations

import asyncio
import socket
from threading import Thread
from types import TracebackType

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from edge_lupi.loop_faults import allow_open_files, say_faults
from edge_lupi.page.address import Address, bound
from edge_lupi.page.guard import App, Guard
from edge_lupi.page.rates import Rates
from edge_lupi.runtime.sources.source import say

__all__ = ["UNREAD_SECONDS", "PageServer"]

MOST_CONNECTIONS = 64
CONNECTIONS_PER_SECOND = 100  # of one address; further ones are closed unread
REQUEST_SECONDS = 10.0  # for a request's head to come; its body has as long as the app gives it
MOST_MESSAGE_BYTES = 1 << 20  # of a socket
UNREAD_SECONDS = 20.0  # for a browser to take what was sent


class _Connection(H11Protocol):
    """One connection, one request. Closed where too many are open or come, and where its other end is too slow."""

    rates = Rates(CONNECTIONS_PER_SECOND, CONNECTIONS_PER_SECOND)
    most_connections = MOST_CONNECTIONS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer: asyncio.TimerHandle | None = None
        if len(self.connections) > self.most_connections or not self.rates.admits(_peer(transport)):
            transport.abort()
            return
        self._timer = self.loop.call_later(REQUEST_SECONDS, self._give_up_request)

    def _give_up_request(self) -> None:
        if self.cycle is None:
            self.transport.abort()

    def pause_writing(self) -> None:
        """The other end does not read; for a while it may."""
        super().pause_writing()
        self._stop_timer()
        self._timer = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_timer()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """The request has come; from here on it is the socket's connection, if there are sockets."""
        self._stop_timer()
        super().handle_websocket_upgrade(event)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def _peer(transport: asyncio.Transport) -> str:
    """Whose connection it is; nobody's where it is gone again."""
    return str((transport.get_extra_info("peername") or ("",))[0])


class _Server(uvicorn.Server):
    """As it is, but for what its loop says of faults."""

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Until it is told to stop."""
        say_faults(asyncio.get_running_loop())
        await super().serve(sockets)


class PageServer:
    """Serves an app from entering to leaving. `address` has the port that was got. `sockets` is uvicorn's protocol for
    WebSockets, where the app takes any; then it is for programs too, and `more_connections` may be open at once."""

    def __init__(
        self, app: App, address: Address, *, sockets: type[asyncio.Protocol] | None = None, more_connections: int = 0
    ) -> None:
        self._socket, self.address = bound(address)
        most_connections = MOST_CONNECTIONS + more_connections
        own = {
            "most_connections": most_connections,
            "rates": Rates(CONNECTIONS_PER_SECOND, CONNECTIONS_PER_SECOND),
        }
        connection = type("_Connection", (_Connection,), own)
        config = uvicorn.Config(
            Guard(app, self.address, programs=sockets is not None),
            http=connection,
            ws=sockets or "none",
            ws_max_size=MOST_MESSAGE_BYTES,
            ws_per_message_deflate=False,  # a small message may be a large one once unpacked
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        allow_open_files(most_connections)
        self._server = _Server(config)
        self._thread = Thread(target=self._serve, name="page", daemon=True)

    def __enter__(self) -> PageServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(timeout=3)

    @property
    def is_running(self) -> bool:
        """Whether it answers; it may end by itself, by a fault."""
        return self._thread.is_alive()

    def _serve(self) -> None:
        with self._socket:
            try:
                self._server.run(sockets=[self._socket])
            except (Exception, SystemExit) as error:
                say(f"the page's server has failed ({type(error).__name__}): nobody sees the page any more")
