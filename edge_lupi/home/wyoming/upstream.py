"""The recogniser behind us: an address in; a connection for one utterance, or what it says of itself, out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from wyoming.event import Event

from edge_lupi.errors import DeviceError
from edge_lupi.home.wyoming.address import TcpAddress
from edge_lupi.home.wyoming.protocol import MOST_HEADER_BYTES, NotWyoming, read_event, why, write_event

__all__ = ["Gone", "Recogniser", "asr_programs"]

CONNECT_SECONDS = 5.0
DESCRIBE_SECONDS = 5.0


class Gone(DeviceError):
    """The recogniser cannot be had, or fails; one sentence."""


class Recogniser:
    """A connection to it, from entering to leaving. Raises Gone."""

    def __init__(self, address: TcpAddress) -> None:
        self._address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Recogniser:
        opening = asyncio.open_connection(self._address.host, self._address.port, limit=MOST_HEADER_BYTES)
        try:
            self._streams = await asyncio.wait_for(opening, CONNECT_SECONDS)
        except (OSError, asyncio.TimeoutError) as error:
            raise self.gone(why(error)) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it, at once."""
        if self._streams:
            self._streams[1].close()

    async def write(self, event: Event) -> None:
        """Pass an event on."""
        assert self._streams
        try:
            await write_event(self._streams[1], event)
        except OSError as error:
            raise self.gone(why(error)) from error

    async def read(self, seconds: float) -> Event:
        """The next event from it."""
        assert self._streams
        try:
            event = await asyncio.wait_for(read_event(self._streams[0]), seconds)
        except asyncio.TimeoutError as error:
            raise self.gone(f"no answer for {seconds:.0f} s") from error
        except NotWyoming as error:
            raise self.gone(str(error)) from error
        if event is None:
            raise self.gone("it ended the connection")
        if event.type == "error":
            raise self.gone(str(event.data.get("text"))[:200])
        return event

    def gone(self, why: str) -> Gone:
        """Why nothing comes of it."""
        return Gone(
            f"the recogniser at {self._address} cannot be used ({why}): see whether it runs, or name another",
            options=("upstream",),
        )


async def asr_programs(address: TcpAddress) -> list[Mapping[str, Any]]:
    """The speech-to-text programs that a recogniser says it has; at least one. Raises Gone."""
    async with Recogniser(address) as recogniser:
        await recogniser.write(Event("describe"))
        while (event := await recogniser.read(DESCRIBE_SECONDS)).type != "info":
            pass
        programs = event.data.get("asr")
        listed = programs if isinstance(programs, list) else []
        named: list[Mapping[str, Any]] = [
            one for one in listed if isinstance(one, dict) and isinstance(one.get("name"), str)
        ]
        if not named:
            raise recogniser.gone("it offers no speech to text")
        return named
