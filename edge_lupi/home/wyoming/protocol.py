"""Wyoming events over a stream, bounded: a line of JSON, more JSON, then bytes; each no longer than it may be.

    {"type": "audio-chunk", "data_length": 46, "payload_length": 2048}\\n{"rate": 16000, "width": 2, ...}<2048 bytes of PCM>

The package's own reader takes whatever lengths a stranger writes; the rest of the package is used as it is.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from wyoming.event import Event, async_write_event

from edge_lupi.words import json_value

__all__ = ["MOST_HEADER_BYTES", "NotWyoming", "let_go", "read_event", "why", "write_event"]

MOST_HEADER_BYTES = 1 << 16  # a line of asyncio's reader
MOST_DATA_BYTES = 1 << 20  # what a recogniser says of its models
MOST_PAYLOAD_BYTES = 1 << 18  # 8 seconds of 16-bit sound at 16 kHz
LONGEST_TYPE = 64
WRITE_SECONDS = 10.0  # for the other end to take what was written


class NotWyoming(Exception):
    """The other end does not speak the protocol; one sentence."""


async def read_event(reader: asyncio.StreamReader) -> Event | None:
    """The next event; None where the other end is gone. Raises NotWyoming."""
    try:
        line = await reader.readline()
        if not line:
            return None
        header = _mapping(line)
        data = _mapping_or_none(header.get("data"))
        more = _length(header, "data_length", MOST_DATA_BYTES)
        data |= _mapping(await reader.readexactly(more)) if more else {}
        length = _length(header, "payload_length", MOST_PAYLOAD_BYTES)
        payload = await reader.readexactly(length) if length else None
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    except ValueError as error:
        raise NotWyoming(
            f"expected an event of the Wyoming protocol, got something else ({str(error)[:80]})"
        ) from error
    return Event(_type(header.get("type")), data, payload)


async def write_event(writer: asyncio.StreamWriter, event: Event) -> None:
    """Raises ConnectionError where the other end is gone, or does not read."""
    try:
        await asyncio.wait_for(async_write_event(event, writer), WRITE_SECONDS)
    except (TimeoutError, asyncio.TimeoutError) as error:
        raise ConnectionError(f"it took nothing for {WRITE_SECONDS:.0f} s") from error


def let_go(writer: asyncio.StreamWriter) -> None:
    """Close a connection; what the other end does not take within some seconds it does not get."""
    writer.close()
    asyncio.get_running_loop().call_later(WRITE_SECONDS, writer.transport.abort)


def why(error: BaseException) -> str:
    """What the operating system says of a connection, without the addresses that asyncio adds."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number and number > 0 else str(error) or "no answer"


def _mapping(text: bytes) -> dict[str, Any]:
    value = json_value(text)
    if not isinstance(value, dict):
        raise ValueError("no JSON object")
    return value


def _mapping_or_none(value: Any) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise ValueError("data that is no JSON object")
    return dict(value or {})


def _length(header: dict[str, Any], name: str, most: int) -> int:
    value = header.get(name) or 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ValueError(f"a {name} that is not 0 to {most}")
    return value


def _type(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_TYPE:
        raise NotWyoming("expected an event of the Wyoming protocol, got one without a type")
    return value
