"""A client's connection: Wyoming events in, answers out, until either end has enough of the other."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from wyoming.event import Event

from edge_lupi.errors import EdgeLupiError
from edge_lupi.home.wyoming.info import info_event, own_name
from edge_lupi.home.wyoming.protocol import NotWyoming, read_event, write_event
from edge_lupi.home.wyoming.upstream import Gone, asr_programs
from edge_lupi.home.wyoming.utterance import Utterance, Worker

__all__ = ["Session"]

log = logging.getLogger(__name__)

UTTERANCE_SECONDS = 30.0  # without an event while somebody is meant to speak
IDLE_SECONDS = 60.0  # or at any other time; whoever comes back connects anew
LINGER_SECONDS = 2.0


class Session:
    """One client. `run` returns when it has gone, or had to be sent away: then it was told why, by an `error` event."""

    def __init__(self, worker: Worker, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._worker, self._reader, self._writer = worker, reader, writer
        self._requests = dict[str, Event]()  # what the recogniser is to know before the sound, by type
        self._utterance: Utterance | None = None

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
        except OSError:
            pass  # the client is gone
        finally:
            if self._utterance:
                self._utterance.close()
            self._writer.close()

    async def _next(self) -> Event | None:
        seconds = UTTERANCE_SECONDS if self._utterance else IDLE_SECONDS
        try:
            return await asyncio.wait_for(read_event(self._reader), seconds)
        except asyncio.TimeoutError as error:
            raise NotWyoming(f"expected an event within {seconds:.0f} s, got none") from error

    async def _take(self, event: Event) -> None:
        """What is not known is left out, as the protocol asks."""
        if event.type == "describe":
            await self._write(info_event(await asr_programs(self._worker.upstream), self._worker.policy))
        elif event.type == "ping":
            await self._write(Event("pong", event.data))
        elif event.type == "select-program":
            self._requests[event.type] = Event(event.type, {"name": own_name(str(event.data.get("name")))})
        elif event.type == "transcribe":
            self._requests[event.type] = event
        elif event.type == "audio-start":
            await self._begin(event)
        elif event.type == "audio-chunk" and self._utterance:
            await self._utterance.chunk(event)
        elif event.type == "audio-stop" and self._utterance:
            utterance, self._utterance = self._utterance, None
            try:
                await utterance.end(event)
            finally:
                utterance.close()

    async def _begin(self, start: Event) -> None:
        if self._utterance:
            raise NotWyoming("expected audio-stop before another audio-start, got none")
        self._utterance = Utterance(self._worker, list(self._requests.values()), start, self._write)
        self._requests.pop("transcribe", None)
        await self._utterance.begin()

    async def _write(self, event: Event) -> None:
        await write_event(self._writer, event)

    async def _send_away(self, sentence: str, code: str) -> None:
        """Say why, and let the client read it: a connection that is ended while it still sends would take the words with it."""
        with suppress(OSError, asyncio.TimeoutError):
            await self._write(Event("error", {"text": sentence, "code": code}))
            self._writer.write_eof()
            await asyncio.wait_for(self._discard(), LINGER_SECONDS)

    async def _discard(self) -> None:
        while await self._reader.read(1 << 16):
            pass
