"""One utterance between a client and the recogniser: sound is passed on as it comes and heard beside it; the transcript gets who spoke.

    client ─► audio ─┬─► recogniser ─► transcript ─┬─► client
                     └─► Heard ─► who spoke ───────┘

Where only some people are let through, the sound waits until it has ended and it is known who spoke; of anybody else the
recogniser hears nothing, and the client gets an empty transcript.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from wyoming.event import Event

from edge_lupi.home.wyoming.address import TcpAddress
from edge_lupi.home.wyoming.heard import SAMPLE_BYTES, Heard, Spoken
from edge_lupi.home.wyoming.policy import Policy
from edge_lupi.home.wyoming.protocol import NotWyoming
from edge_lupi.home.wyoming.upstream import Recogniser
from edge_lupi.runtime.listening.listener import Listener

__all__ = ["Utterance", "Worker", "sound_format"]

TRANSCRIPT_SECONDS = 120.0  # for the recogniser to find words in what it has heard
LONGEST_SECONDS = 300.0
MOST_HELD_BYTES = 1 << 24
MOST_UNHEARD_SECONDS = 2.0  # of one client's sound wait to be heard, so that others have their turn
RATES_HZ, CHANNELS = range(8_000, 192_001), range(1, 9)
PIECES = ("transcript-start", "transcript-chunk", "transcript-stop")

Write = Callable[[Event], Awaitable[None]]


@dataclass(frozen=True)
class Worker:
    """What all utterances share: who listens, in which thread, what becomes of transcripts, where the recogniser is, who is told."""

    listener: Listener
    thread: Executor  # of one thread: pieces are heard in their order
    policy: Policy
    upstream: TcpAddress
    told: Callable[[Spoken, bool], None]


class Utterance:
    """From `begin` to `end`, or to `close` at any time. Raises NotWyoming, and Gone of the recogniser.

    `requests` are the events that the recogniser gets before the sound, `write` is for the client. A recogniser that finds the
    end of speech by itself is answered for before the client says that the sound has ended.
    """

    def __init__(self, worker: Worker, requests: Sequence[Event], start: Event, write: Write) -> None:
        self._worker, self._requests, self._write = worker, [*requests, start], write
        self._format = sound_format(start.data)
        self._heard = Heard(worker.listener, *self._format)
        self._bytes_a_second = self._format[0] * self._format[1] * SAMPLE_BYTES
        self._unheard = deque[tuple[asyncio.Future[None], int]]()
        self._held, self._bytes = list[Event](), 0
        self._recogniser: Recogniser | None = None
        self._answering: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """The recogniser is asked, unless the sound is to wait."""
        if not self._worker.policy.holds_back:
            await self._ask()

    async def request(self, event: Event) -> None:
        """Something more that the recogniser is to know, which the client said late."""
        if self._answering is None:
            self._requests.insert(0, event)
        else:
            await self._pass_on(event)

    async def chunk(self, event: Event) -> None:
        """Some sound. What comes after the answer is dropped."""
        if sound_format(event.data) != self._format:
            raise NotWyoming("expected sound of one format in an utterance, got another")
        self._bytes += len(event.payload or b"")
        if self._bytes > LONGEST_SECONDS * self._bytes_a_second:
            raise NotWyoming(f"expected an utterance of at most {LONGEST_SECONDS:.0f} s, got a longer one")
        if self._answering is not None:
            await self._pass_on(event)
        elif self._bytes > MOST_HELD_BYTES:
            raise NotWyoming(f"expected at most {MOST_HELD_BYTES} bytes of sound in an utterance, got more")
        else:
            self._held.append(event)
        await self._hear(event.payload or b"")

    async def end(self, event: Event) -> None:
        """The sound has ended; returns when the client has its transcript."""
        if self._answering is None:
            spoken = await self._spoken()
            if not self._worker.policy.admits(spoken):
                self._worker.told(spoken, False)
                await self._write(Event("transcript", {"text": "", **spoken.fields()}))
                return
            await self._ask()
        assert self._answering is not None
        held, self._held = self._held, []
        for one in [*held, event]:
            await self._pass_on(one)
        await self._answering

    def close(self) -> None:
        """Let go of everything."""
        if self._answering and not self._answering.cancel() and not self._answering.cancelled():
            self._answering.exception()  # it was told already
        if self._recogniser:
            self._recogniser.close()

    async def _ask(self) -> None:
        self._recogniser = Recogniser(self._worker.upstream)
        await self._recogniser.__aenter__()
        for request in self._requests:
            await self._recogniser.write(request)
        self._answering = asyncio.create_task(self._answer(self._recogniser))

    async def _pass_on(self, event: Event) -> None:
        assert self._recogniser
        assert self._answering
        if self._answering.done():
            await self._answering  # raises what went wrong
            return
        try:
            await self._recogniser.write(event)
        except Exception:
            if not self._answering.done():  # it may have answered and gone
                await asyncio.wait([self._answering], timeout=1.0)
            if not self._answering.done():
                raise
            await self._answering

    async def _answer(self, recogniser: Recogniser) -> None:
        """The recogniser's transcript, with who spoke. Raises Gone."""
        while True:
            event = await recogniser.read(LONGEST_SECONDS + TRANSCRIPT_SECONDS)
            if event.type == "transcript":
                break
            if event.type in PIECES and self._worker.policy.passes_pieces:
                await self._write(event)
        spoken = await self._spoken()
        self._worker.told(spoken, True)
        recogniser.close()
        text = event.data.get("text")
        words = self._worker.policy.text(text if isinstance(text, str) else "", spoken)
        await self._write(Event("transcript", {**spoken.fields(), **event.data, "text": words}))

    async def _hear(self, pcm: bytes) -> None:
        """Have it heard, in its turn; waits only where much of this client's sound waits already."""
        loop = asyncio.get_running_loop()
        hearing = loop.run_in_executor(self._worker.thread, self._heard.hear, pcm)
        hearing.add_done_callback(lambda one: one.cancelled() or one.exception())  # nobody may wait for it any more
        self._unheard.append((hearing, len(pcm)))
        most = MOST_UNHEARD_SECONDS * self._bytes_a_second
        while self._unheard and (self._unheard[0][0].done() or sum(size for _, size in self._unheard) > most):
            await self._unheard.popleft()[0]

    async def _spoken(self) -> Spoken:
        """Who spoke, after all that was given to be heard."""
        while self._unheard:
            await self._unheard.popleft()[0]
        return await asyncio.get_running_loop().run_in_executor(self._worker.thread, self._heard.end)


def sound_format(data: dict[str, Any]) -> tuple[int, int]:
    """Rate and channels of sound. Raises NotWyoming where it is not 16-bit, or of no rate that sound has."""
    rate_hz, width, channels = (_whole(data.get(name)) for name in ("rate", "width", "channels"))
    if rate_hz not in RATES_HZ or width != SAMPLE_BYTES or channels not in CHANNELS:
        raise NotWyoming(
            f"expected 16-bit sound of {RATES_HZ[0]} to {RATES_HZ[-1]} Hz and 1 to {CHANNELS[-1]} channels, "
            f"got {width} bytes at {rate_hz} Hz, {channels} channels"
        )
    return rate_hz, channels


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise NotWyoming("expected sound with its rate, width and channels as whole numbers, got some without")
    return value
