"""A recogniser that speaks the Wyoming protocol and knows one sentence, made with the protocol's own package; and a client of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.event import Event
from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info
from wyoming.server import AsyncEventHandler, AsyncTcpServer

from tests.home.brokers import free_port

WORDS = "turn on the light"
ATTRIBUTION = Attribution("tests", "https://example.org")
MODEL = AsrModel("small", ATTRIBUTION, True, "a model", "1", ["en", "de"])
PROGRAM = AsrProgram("stand-in", ATTRIBUTION, True, "knows one sentence", "1", [MODEL], True, False)


@dataclass
class Recogniser:
    """What it was given, and how it is to behave: as it should, or `early`, `error`, `silent`, `gone` in the midst, or `garbage`."""

    behaviour: str = "right"
    port: int = 0
    events: list[Event] = field(default_factory=list)
    times: list[float] = field(default_factory=list)  # when each piece of sound came

    @property
    def sound(self) -> bytes:
        return b"".join(event.payload or b"" for event in self.events if event.type == "audio-chunk")

    def types(self) -> list[str]:
        return list(dict.fromkeys(event.type for event in self.events))


class _Handler(AsyncEventHandler):
    def __init__(self, recogniser: Recogniser, reader: Any, writer: Any) -> None:
        super().__init__(reader, writer)
        self._recogniser = recogniser

    async def handle_event(self, event: Event) -> bool:
        behaviour, chunks = self._recogniser.behaviour, len(self._recogniser.sound)
        if Describe.is_type(event.type):
            await self.write_event(Info(asr=[PROGRAM]).event())
            return True
        self._recogniser.events.append(event)
        if AudioChunk.is_type(event.type):
            self._recogniser.times.append(time.perf_counter())
        if AudioChunk.is_type(event.type) and chunks and behaviour in ("gone", "garbage", "early"):
            if behaviour == "garbage":
                self.writer.write(b"\x00\xff no JSON at all\n")
            elif behaviour == "early":
                await self.write_event(Transcript(WORDS).event())
            return False
        if AudioStop.is_type(event.type):
            await self._answer(behaviour)
            return False
        return True

    async def _answer(self, behaviour: str) -> None:
        if behaviour == "error":
            await self.write_event(Event("error", {"text": "out of memory"}))
        elif behaviour == "silent":
            await asyncio.sleep(60)
        else:
            for piece in (TranscriptStart(), TranscriptChunk(WORDS), TranscriptStop()):
                await self.write_event(piece.event())
            await self.write_event(Event("transcript", {"text": WORDS, "language": "en", "context": {"id": 7}}))


@asynccontextmanager
async def recogniser(behaviour: str = "right") -> AsyncIterator[Recogniser]:
    one = Recogniser(behaviour, free_port())
    server = AsyncTcpServer("127.0.0.1", one.port)
    await server.start(partial(_Handler, one))
    try:
        yield one
    finally:
        await server.stop()


def pcm(samples: NDArray[np.float32]) -> bytes:
    return (samples * 32767).astype("<i2").tobytes()


async def say(port: int, samples: NDArray[np.float32], rate: int = 16_000, pace: float = 0.0) -> list[Event]:
    """What a client gets for an utterance, up to a transcript, an error or the end: as Home Assistant asks, in pieces of 64 ms."""
    got = list[Event]()
    async with AsyncTcpClient("127.0.0.1", port) as client:
        await client.write_event(Transcribe(language="en").event())
        await client.write_event(AudioStart(rate, 2, 1).event())
        data, size = pcm(samples), round(0.064 * rate) * 2
        try:
            for start in range(0, len(data), size):
                await client.write_event(AudioChunk(rate, 2, 1, data[start : start + size]).event())
                await asyncio.sleep(pace * 0.064)
            await client.write_event(AudioStop().event())
        except ConnectionError:
            pass  # it was sent away; what was said to it comes now
        while event := await asyncio.wait_for(client.read_event(), 30):
            got.append(event)
            if event.type in ("transcript", "error"):
                break
    return got
