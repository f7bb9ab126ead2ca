"""A client's connection: Wyoming events in, answers out, until either end has enough of the other."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from wyoming.event import Event

from edge_lupi.errors import EdgeLupiError
from edge_lupi.home.wyoming.info import info_event, own_name
from edge_lupi.home.wyoming.protocol import NotWyoming, let_go, read_event, write_event
from edge_lupi.home.wyoming.upstream import Gone, asr_programs
from edge_lupi.home.wyoming.utterance import Utterance, Worker

__all__ = ["Session"]

log = logging.getLogger(__name__)

UTTERANCE_SECONDS = 30.0  # without an event while somebody is meant to speak
IDLE_SECONDS = 60.0  # or at any other time; whoever comes back connects anew
LINGER_SECONDS = 2.0
FORMAT = ("rate", "width", "channels")


class _Left(Exception):
    """The client went while it was owed an answer."""


class Session:
    """One client. `run` returns when it has gone, or had to be sent away: then it was told why, by an `error` event."""

    def __init__(self, worker: Worker, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._worker, self._reader, self._writer = worker, reader, writer
        self._requests = dict[str, Event]()  # what the recogniser is to know before the sound, by type
        self._utterance: Utterance | None = None
        self._ahead: asyncio.Task[Event | None] | None = None  # the next event, where it is waited for already

    async def run(self) -> None:
        """Answer until the end."""
        try:
            while event := await self._next():
                await self._take(event)
        except Gone as error:
            log.warning(str(error), extra={"options": error.options})
            await self._send_away(str(error), "upstream")
        except (NotWyoming, EdgeLupiError) as error:
            await self._send_away(str(error), "protocol")
        except (OSError, _Left):
            pass  # the client is gone
        except Exception as error:  # a fault of ours is the end of this client's connection alone
            log.warning(f"an utterance could not be heard ({type(error).__name__}: {str(error)[:200]})")
            await self._send_away("edge-lupi has failed: its log says why", "internal")
        finally:
            if self._utterance:
                self._utterance.close()
            if self._ahead:
                self._ahead.cancel()
            let_go(self._writer)

    async def _next(self) -> Event | None:
        seconds = UTTERANCE_SECONDS if self._utterance else IDLE_SECONDS
        reading, self._ahead = self._ahead or asyncio.ensure_future(read_event(self._reader)), None
        try:
            return await asyncio.wait_for(reading, seconds)
        except asyncio.TimeoutError as error:
            raise NotWyoming(f"expected an event within {seconds:.0f} s, got none") from error

    async def _take(self, event: Event) -> None:
        """What is not known is left out, as the protocol asks. Sound may come without its start, as recognisers take it."""
        if event.type == "describe":
            await self._write(info_event(await asr_programs(self._worker.upstream), self._worker.policy))
        elif event.type == "ping":
            await self._write(Event("pong", event.data))
        elif event.type == "select-program":
            await self._request(Event(event.type, {"name": own_name(str(event.data.get("name")))}))
        elif event.type == "transcribe":
            await self._request(event)
        elif event.type == "audio-start":
            await self._begin(event)
        elif event.type == "audio-chunk":
            if self._is_awaited:
                await self._begin(Event("audio-start", {name: event.data.get(name) for name in FORMAT}))
            if self._utterance:
                await self._utterance.chunk(event)
        elif event.type == "audio-stop" and self._utterance:
            await self._end(self._utterance, event)
        elif event.type == "audio-stop" and self._is_awaited:
            del self._requests["transcribe"]
            await self._write(Event("transcript", {"text": ""}))  # there was no sound

    @property
    def _is_awaited(self) -> bool:
        """Whether sound is to come, and none has begun yet."""
        return self._utterance is None and "transcribe" in self._requests

    async def _request(self, event: Event) -> None:
        """Something that the recogniser is to know: of the sound that has begun, or of what is to come."""
        if self._utterance:
            await self._utterance.request(event)
        if not self._utterance or event.type == "select-program":
            self._requests[event.type] = event

    async def _begin(self, start: Event) -> None:
        if self._utterance:
            raise NotWyoming("expected audio-stop before another audio-start, got none")
        self._utterance = Utterance(self._worker, list(self._requests.values()), start, self._write)
        self._requests.pop("transcribe", None)
        await self._utterance.begin()

    async def _end(self, utterance: Utterance, stop: Event) -> None:
        """The client gets its transcript, unless it goes meanwhile: then the recogniser need not answer."""
        self._utterance = None
        ending = asyncio.ensure_future(utterance.end(stop))
        self._ahead = asyncio.ensure_future(read_event(self._reader))
        try:
            await asyncio.wait([ending, self._ahead], return_when=asyncio.FIRST_COMPLETED)
            if not ending.done() and self._ahead.exception() is None and self._ahead.result() is None:
                raise _Left
            await ending
        finally:
            ending.cancel()
            utterance.close()

    async def _write(self, event: Event) -> None:
        await write_event(self._writer, event)

    async def _send_away(self, sentence: str, code: str) -> None:
        """Say why, and let the client read it: a connection that is ended while it still sends would take the words with it."""
        with suppress(OSError, asyncio.TimeoutError):
            await self._write(Event("error", {"text": sentence, "code": code}))
            self._writer.write_eof()
            await asyncio.wait_for(self._discard(), LINGER_SECONDS)

    async def _discard(self) -> None:
        if self._ahead:
            self._ahead.cancel()
            await asyncio.wait([self._ahead])
        while await self._reader.read(1 << 16):
            pass
