"""uvicorn's WebSockets by `websockets`, with an end for whoever does not read, and patience with whoever is made to wait."""

from __future__ import annotations

import asyncio
from asyncio.transports import BaseTransport

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from edge_lupi.page import server

__all__ = ["Socket"]


class Socket(WebSocketsSansIOProtocol):
    """One socket. Its other end is asked for a sign of life every 20 s, and has 20 s for it, or to read what was sent."""

    _timer: asyncio.TimerHandle | None = None
    _heard_seconds = 0.0

    def connection_made(self, transport: BaseTransport) -> None:
        """Its request comes now, or never."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(server.REQUEST_SECONDS, self.transport.abort)

    def handle_connect(self, event: Request) -> None:
        """Its request has come."""
        self._stop_timer()
        super().handle_connect(event)

    def pause_writing(self) -> None:
        """The other end does not read; for a while it may."""
        super().pause_writing()
        self._stop_timer()
        self._timer = self.loop.call_later(server.UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        self._stop_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes of it: it is alive."""
        self._heard_seconds = self.loop.time()
        super().data_received(data)

    def keepalive_timeout(self) -> None:
        """The sign of life did not come; but of a client that is made to wait it lies behind its sound."""
        if self.read_paused or self._heard_seconds > self.ping_sent_at:
            self.pong_timer = self.pending_ping_payload = None
            self.schedule_ping()
        else:
            super().keepalive_timeout()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
