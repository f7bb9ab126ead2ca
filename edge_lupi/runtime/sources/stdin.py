"""Standard input -> Blocks of float32 [n] at 16 kHz mono: raw samples, a WAV as it is written, or another sound file."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from typing import IO, BinaryIO

from edge_lupi.errors import InputError
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.sources.pipe import BLOCK_SECONDS, WHERE, Pipe, ReadAhead
from edge_lupi.runtime.sources.ring import Ring
from edge_lupi.runtime.sources.source import Source, blocks_of, say
from edge_lupi.sound.audio import stream_audio
from edge_lupi.sound.kinds import HEAD_BYTES, sound_kind
from edge_lupi.sound.resampler import resampler
from edge_lupi.sound.wav import Wav, read_wav

__all__ = ["StdinSource"]

RING_SECONDS = 10.0
MOST_RING_VALUES = 1 << 24  # 64 MB of float32, also of many channels at a high rate
MOST_SPOOLED_BYTES = 1 << 30  # of a file that must be whole before it can be decoded
CONTAINERS = ("AVI", "MP4", "Matroska or WebM")


class StdinSource(Source):
    """Sound from standard input (or another open pipe); what has no header is signed 16-bit little-endian mono at `rate_hz`.

    A WAV is heard while it is written, another sound file once it is whole. See `pipe` for who waits for whom.
    """

    live = True

    def __init__(
        self, rate_hz: int = SAMPLE_RATE_HZ, stream: BinaryIO | None = None, *, ring_seconds: float = RING_SECONDS
    ) -> None:
        super().__init__()
        resampler(rate_hz, 1)  # refuses a rate that cannot be
        self._rate_hz = rate_hz
        self._ring_seconds = ring_seconds
        self._peak_fill_seconds = 0.0
        self._pipe = Pipe(stream or _standard_input(), lambda: self._stopped)

    @property
    def title(self) -> str:
        """What it is, in words for people."""
        return WHERE

    @property
    def peak_fill_seconds(self) -> float:
        """The most sound that ever waited in the ring."""
        return self._peak_fill_seconds

    def __iter__(self) -> Iterator[Block]:
        head = self._pipe.peek(12)
        head = self._pipe.peek(HEAD_BYTES) if head[:1] == b"\xff" else head
        if not head and not self._stopped:
            raise InputError(
                "expected raw 16-bit mono samples on standard input, got nothing: pipe some in, as in arecord -t raw -f S16_LE -r 16000 | edge-lupi listen --input -"
            )
        kind = sound_kind(head)
        wav = self._wav() if kind == "WAV" else None
        if kind in CONTAINERS:
            raise InputError(
                f"expected raw samples, WAV, FLAC, OGG or MP3 on {WHERE}, got {kind}: give it as a file",
                options=("input",),
            )
        if kind and not wav:
            yield from self._spooled(kind)
        else:
            yield from self._as_it_comes(wav or Wav(self._rate_hz, 1, "i2", "<", 0, 0))

    def _wav(self) -> Wav | None:
        """The header, taken off the pipe; None where only a library can decode it, and then it is still there."""
        taken = list[bytes]()

        def read(count: int) -> bytes:
            taken.append(self._pipe.exactly(count))
            return taken[-1]

        wav = read_wav(read, WHERE)
        if wav is None:
            self._pipe.put_back(b"".join(taken))
        elif wav.rate_hz != self._rate_hz != SAMPLE_RATE_HZ:
            say(f"the WAV on {WHERE} has {wav.rate_hz} Hz, which counts, and not the {self._rate_hz} Hz asked for")
        return wav

    def _as_it_comes(self, wav: Wav) -> Iterator[Block]:
        convert, dropped, ring_lost = resampler(wav.rate_hz, wav.channels, notice=say), 0, 0
        ring = Ring(min(round(self._ring_seconds * wav.rate_hz), MOST_RING_VALUES // wav.channels))
        ahead = ReadAhead(self._pipe, wav, ring, lambda: self._stopped)
        ahead.start()
        received = time.perf_counter()
        try:
            while not self._stopped and (block := ahead.next()) is not None:
                if block.gap:
                    yield from blocks_of(convert.flush(), received_seconds=received, dropped=dropped)
                    convert = resampler(wav.rate_hz, wav.channels)
                    dropped += round((block.dropped - ring_lost) * SAMPLE_RATE_HZ / wav.rate_hz)
                    ring_lost = block.dropped
                received = block.received_seconds
                self._peak_fill_seconds = ring.peak_fill / wav.rate_hz
                samples, fill = convert.push(block.samples), self._peak_fill_seconds
                yield from blocks_of(samples, None, received, dropped=dropped, gap=block.gap, peak_fill_seconds=fill)
            yield from blocks_of(convert.flush(), received_seconds=received, dropped=dropped)
        finally:
            self.stop()
            ahead.join()

    def _spooled(self, kind: str) -> Iterator[Block]:
        """What can only be decoded as a file, first written to one without a name."""
        with tempfile.TemporaryFile() as file:
            self._spool(file, kind)
            for samples in stream_audio(file, BLOCK_SECONDS, name=WHERE, notice=say):
                if self._stopped:
                    return
                yield from blocks_of(samples)

    def _spool(self, file: IO[bytes], kind: str) -> None:
        size = 0
        try:
            while data := self._pipe.some(1 << 16):
                size += len(data)
                if size > MOST_SPOOLED_BYTES:
                    raise InputError(
                        f"expected at most {MOST_SPOOLED_BYTES} bytes of {kind} on {WHERE}, got more: give it as a file",
                        options=("input",),
                    )
                file.write(data)
            file.seek(0)
        except OSError as error:
            raise InputError(
                f"{kind} on {WHERE} cannot be kept until it is whole ({error.strerror}): give it as a file",
                options=("input",),
            ) from error


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise InputError(
            "expected sound on standard input, got a closed one: pipe some in, or name a file", options=("input",)
        )
    return sys.stdin.buffer
