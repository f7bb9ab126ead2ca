"""One client's WebSocket: messages of sound in, lines of JSON out, until either has ended.

client                                    service
  GET /listen?rate=16000 ────────────────►  refused with a status and a sentence, or
  ◄────────────────────────────────────── {"type": "begin", ...}
  binary: samples ────────────────────────►
  ◄────────────────────────────────────── {"time": ..., "task": "speaker", ...}   an event, as `listen --json` prints it
  {"type": "lost", "samples": 4800} ──────►  missing before what comes next: the clock goes on
  {"type": "end"} ────────────────────────►
  ◄────────────────────────────────────── the last events, {"type": "end", ...}, close 1000
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

from edge_lupi.errors import DeviceError, InputError
from edge_lupi.page.guard import Receive, Scope, Send, reply
from edge_lupi.serve.request import Decoder, request_of
from edge_lupi.serve.service import Service
from edge_lupi.serve.stream import Served
from edge_lupi.words import json_text, json_value

__all__ = ["connect"]

LOOK_SECONDS = 0.01  # how soon a client goes on that waits for room
TOLD_SECONDS = 1.0  # between two lines about the same pressure
MESSAGES_PER_SECOND = 200.0  # of one stream; what comes faster waits
BURST = 400.0
MOST_TEXT = 1_000
MOST_REASON_BYTES = 123  # RFC 6455: 125 of a control frame, less the code
NORMAL, GOING_AWAY, BAD_SOUND = 1000, 1001, 1007


async def connect(service: Service, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one WebSocket."""
    await receive()  # that it connects
    loop, rung = asyncio.get_running_loop(), asyncio.Event()

    def ring() -> None:
        with suppress(RuntimeError):  # the server has stopped
            loop.call_soon_threadsafe(rung.set)

    try:
        asked = request_of(scope["query_string"].decode("latin-1"))
        decoder = Decoder(asked)
        stream = service.join(asked, ring)
    except (InputError, ValueError) as error:
        await reply(send, 400, {"error": str(error)}, kind="websocket.http.response")
        return
    except DeviceError as error:
        await reply(send, 503, {"error": str(error)}, kind="websocket.http.response")
        return
    telling: asyncio.Task[None] | None = None
    try:
        await send({"type": "websocket.accept"})
        telling = asyncio.ensure_future(_tell(stream, rung, send))
        await _Hearing(service, stream, decoder).until_gone(receive)
    finally:
        stream.leave()
        service.arrived()
        if telling:
            telling.cancel()
            await asyncio.wait([telling])
        stream.is_closed.set()


async def _tell(stream: Served, rung: asyncio.Event, send: Send) -> None:
    """Lines as they come; then the close. A client that does not read is waited for here, and by nobody else."""
    with suppress(OSError):
        while True:
            await rung.wait()
            rung.clear()
            is_over = stream.is_over  # before the last lines are taken
            lines, missed = stream.news()
            if missed:
                lines.insert(0, json_text({"type": "missed", "lines": missed}))
            for line in lines:
                await send({"type": "websocket.send", "text": line})
            if is_over:
                code = BAD_SOUND if stream.is_refused else GOING_AWAY if stream.error else NORMAL
                await send({"type": "websocket.close", "code": code, "reason": _reason(stream.error)})
                return


class _Hearing:
    """What a client sends, put where the listener takes it."""

    def __init__(self, service: Service, stream: Served, decoder: Decoder) -> None:
        self._service, self._stream, self._decoder = service, stream, decoder
        self._allowed, self._filled_seconds = BURST, time.monotonic()
        self._told_seconds = 0.0
        self._told = (0, 0.0)  # dropped here, waited

    async def until_gone(self, receive: Receive) -> None:
        """All messages. After the end of the sound, or a fault in it, what still comes is not looked at."""
        while (message := await receive())["type"] != "websocket.disconnect":
            if self._stream.has_ended:
                continue
            try:
                await self._message(message)
            except InputError as error:
                self._stream.refuse(str(error))
            self._service.arrived()

    async def _message(self, message: MutableMapping[str, Any]) -> None:
        await self._slow_down()
        data = message.get("bytes")
        if data is not None:
            await self._put(self._decoder.decoded(data))
            return
        said = _said(message.get("text") or "")
        if said.get("type") == "lost":
            self._stream.lose(self._decoder.at_own_rate(said.get("samples")))
        elif said.get("type") == "end":
            await self._put(self._decoder.rest())
            self._stream.end()
        else:
            raise InputError(
                'expected sound as bytes, or {"type": "lost"} or {"type": "end"} as text, got another text'
            )

    async def _put(self, samples: Any) -> None:
        """Sound to where it waits; where that is full and the client can wait, it is not read from until there is room."""
        stream = self._stream
        if not (stream.drops or stream.has_room(len(samples))):
            began_seconds = time.monotonic()
            while not (stream.has_ended or stream.has_room(len(samples))):
                self._service.arrived()
                await asyncio.sleep(LOOK_SECONDS)
            stream.waited_seconds += time.monotonic() - began_seconds
        stream.put(samples)
        self._tell_pressure()

    async def _slow_down(self) -> None:
        now_seconds = time.monotonic()
        self._allowed += MESSAGES_PER_SECOND * (now_seconds - self._filled_seconds)
        self._allowed, self._filled_seconds = min(BURST, self._allowed) - 1, now_seconds
        if self._allowed < 0:
            await asyncio.sleep(-self._allowed / MESSAGES_PER_SECOND)
            self._stream.waited_seconds += time.monotonic() - now_seconds

    def _tell_pressure(self) -> None:
        """That sound was dropped, or the client had to wait; once a second at most."""
        stream, now_seconds = self._stream, time.monotonic()
        dropped, waited_seconds = stream.dropped_here, round(stream.waited_seconds, 3)
        if now_seconds - self._told_seconds < TOLD_SECONDS or (dropped, waited_seconds) == self._told:
            return
        self._told, self._told_seconds = (dropped, waited_seconds), now_seconds
        waiting = round(stream.fill_seconds, 3)
        stream.tell(
            json_text(
                {"type": "pressure", "dropped_here": dropped, "waited_seconds": waited_seconds, "waiting": waiting}
            )
        )


def _reason(words: str) -> str:
    """As much of it as a close has room for, in bytes."""
    return words.encode()[:MOST_REASON_BYTES].decode(errors="ignore")


def _said(text: str) -> dict[str, Any]:
    """Raises InputError where a text is no object of JSON."""
    try:
        said = json_value(text[: MOST_TEXT + 1].encode()) if len(text) <= MOST_TEXT else None
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise InputError(f"expected an object of JSON in a text of at most {MOST_TEXT} characters, got something else")
    return said
