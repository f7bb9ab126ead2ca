"""An open pipe of sound, emptied by a thread into a ring as fast as it comes.

A writer that cannot wait (arecord) so loses nothing of which nobody knows: when the reader is too slow the ring drops its
oldest and counts it, as a microphone's does. A writer that can wait (cat) is made to, and loses nothing. A pipe does not
say which of them it has; the clock does. Where the ring was filled in less than half of the time that its sound lasts, no
microphone did that, and the writer waits, until the ring has been empty. One that can wait but writes no faster than that is
taken for one that cannot.
"""

from __future__ import annotations

import os
import select
import stat
import threading
import time
from collections.abc import Callable
from typing import BinaryIO

from edge_lupi.errors import InputError
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.sources.ring import Ring
from edge_lupi.runtime.sources.source import POLL_SECONDS
from edge_lupi.sound.audio import check_samples
from edge_lupi.sound.wav import Wav, read_wav

__all__ = ["WHERE", "Pipe", "ReadAhead"]

BLOCK_SECONDS = 0.1
AHEAD = 2.0  # times as fast as sound; what lay in the pipe before we came (64 KiB: 2 s of raw sound) is no sign of that
WHERE = "standard input"


class Pipe:
    """Bytes of an open pipe, also some that come next without taking them. `stopped` is asked while there are none."""

    def __init__(self, stream: BinaryIO, stopped: Callable[[], bool]) -> None:
        self._stream = stream
        self._stopped = stopped
        self._next = b""

    @property
    def is_file(self) -> bool:
        """Whether it is a file after all, as behind `<`, which can wait."""
        return stat.S_ISREG(os.fstat(self._stream.fileno()).st_mode)

    def some(self, most: int) -> bytes:
        """At least one byte and at most so many; none at the end, or when stopped."""
        data, self._next = self._next[:most], self._next[most:]
        return data or self._read(most)

    def exactly(self, count: int) -> bytes:
        """So many bytes; fewer at the end."""
        data = self.peek(count)
        self._next = self._next[count:]
        return data

    def peek(self, count: int) -> bytes:
        """The next bytes, which stay; fewer at the end."""
        while len(self._next) < count and (data := self._read(count - len(self._next))):
            self._next += data
        return self._next[:count]

    def put_back(self, data: bytes) -> None:
        """These come next, once more."""
        self._next = data + self._next

    def _read(self, most: int) -> bytes:
        descriptor = self._stream.fileno()
        while not self._stopped():
            ready, _, _ = select.select([descriptor], [], [], POLL_SECONDS)
            if ready:
                return os.read(descriptor, most)
        return b""


class ReadAhead(threading.Thread):
    """Copies the samples of a WAV (or raw ones, described as one) from a pipe into a ring; `blocks` gives them."""

    def __init__(self, pipe: Pipe, wav: Wav, ring: Ring, stopped: Callable[[], bool]) -> None:
        super().__init__(name="edge-lupi standard input", daemon=True)
        self._pipe = pipe
        self._wav = wav
        self._ring = ring
        self._stopped = stopped
        self._bytes = max(1, round(wav.rate_hz * BLOCK_SECONDS)) * wav.frame_bytes
        self._ended = threading.Event()
        self._error: InputError | None = None
        self._waits = pipe.is_file

    def next(self) -> Block | None:
        """The oldest block; None at the end. Raises what ended it, if that was not the end."""
        while True:
            ended = self._ended.is_set()
            block = self._ring.read(0 if ended else POLL_SECONDS)
            if block is not None:
                return block
            if ended and self._error:
                raise self._error
            if ended or self._stopped():
                return None

    def run(self) -> None:
        """The thread's work."""
        try:
            self._copy()
        except InputError as error:
            self._error = error
        finally:
            self._ended.set()
            self._ring.wake()

    def _copy(self) -> None:
        left, cut = self._promised(), b""
        while left != 0 and (data := self._pipe.some(min(left or self._bytes, self._bytes))):
            left = None if left is None else left - len(data)
            whole = len(cut + data) // self._wav.frame_bytes * self._wav.frame_bytes
            data, cut = (cut + data)[:whole], (cut + data)[whole:]
            self._hand_on(data)
            left = self._behind() if left == 0 else left

    def _promised(self) -> int | None:
        """Bytes of samples that the header says are to come; None for all that come."""
        return None if self._wav.endless else self._wav.promised_bytes

    def _behind(self) -> int | None:
        """The same once they have come: a second file, chunks that are no sound, or sound after all."""
        after = self._pipe.peek(8)
        if after[:4] in (b"RIFF", b"RF64", b"RIFX"):
            wav = read_wav(self._pipe.exactly, WHERE)
            if wav is None or (wav.rate_hz, wav.channels) != (self._wav.rate_hz, self._wav.channels):
                raise InputError(f"expected files of one kind one after another on {WHERE}, got another: pipe one file")
            self._wav = wav
            return self._promised()
        if len(after) == 8 and not after[:4].isascii():
            return None
        while self._pipe.some(1 << 16):
            pass
        return 0

    def _hand_on(self, data: bytes) -> None:
        samples = self._wav.decoded(data)
        check_samples(WHERE, samples)
        if self._ring.fill == 0:
            self._waits = self._pipe.is_file
        elif self._ring.fill + len(samples) > self._ring.capacity_samples:
            self._waits = self._waits or self._ran_ahead()
            while self._waits and not self._stopped() and not self._ring.wait_for_room(len(samples), POLL_SECONDS):
                pass
        if len(samples):
            self._ring.write(samples)

    def _ran_ahead(self) -> bool:
        """Whether what waits in the ring came faster than any microphone gives it."""
        took_seconds = time.perf_counter() - self._ring.oldest_received_seconds
        return took_seconds * AHEAD < self._ring.fill / self._wav.rate_hz
