"""What a client asks for with a stream: the query of its address in, a checked request out; and its bytes as samples.

/listen?rate=48000&format=s16le&channels=1&full=wait&name=kitchen
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import NDArray

from edge_lupi.errors import InputError
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.runtime.speakers.names import checked_name
from edge_lupi.sound.audio import check_samples
from edge_lupi.sound.resampler import Resampler
from edge_lupi.sound.wav import Wav
from edge_lupi.words import printable

__all__ = ["FORMATS", "FULL", "MESSAGE_SECONDS", "RATES_HZ", "Decoder", "Request", "request_of"]

FORMATS = {"s16le": "i2", "f32le": "f4"}
FULL = ("wait", "drop")
RATES_HZ = range(4_000, 192_001)
CHANNELS = range(1, 9)
MESSAGE_SECONDS = 5.0


@dataclass(frozen=True)
class Request:
    """`rate`: samples per second and channel. `full` says what becomes of sound where too much waits: `wait` makes the
    client wait, who loses nothing; `drop` drops the oldest, as a microphone's ring does, and counts it."""

    rate: int = SAMPLE_RATE_HZ
    format: str = "s16le"
    channels: int = 1
    full: str = "wait"
    name: str = ""

    @property
    def drops(self) -> bool:
        """Whether the client cannot wait."""
        return self.full == "drop"


def request_of(query: str) -> Request:
    """Raises InputError where anything is not as it has to be; what is left out has its usual value."""
    pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=20) if query else []
    known = {one.name for one in fields(Request)}
    given = dict(pairs)
    unknown = sorted(set(given) - known)
    if unknown or len(given) < len(pairs):
        raise InputError(
            f"expected {', '.join(sorted(known))} in the address, each once, got {printable(query)[:200]!r}: leave out the others"
        )
    return Request(
        rate=_whole(given, "rate", RATES_HZ, SAMPLE_RATE_HZ),
        format=_one_of(given, "format", tuple(FORMATS)),
        channels=_whole(given, "channels", CHANNELS, 1),
        full=_one_of(given, "full", FULL),
        name=checked_name(given["name"]) if given.get("name") else "",
    )


def _whole(given: dict[str, str], key: str, bounds: range, usual: int) -> int:
    text = given.get(key, str(usual))
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and int(text) in bounds):
        raise InputError(f"expected {key} of {bounds[0]} to {bounds[-1]}, got {printable(text)[:40]!r}")
    return int(text)


def _one_of(given: dict[str, str], key: str, words: tuple[str, ...]) -> str:
    word = given.get(key, words[0])
    if word not in words:
        raise InputError(f"expected {key} {' or '.join(words)}, got {printable(word)[:40]!r}")
    return word


@dataclass(frozen=True, eq=False)
class Decoder:
    """Bytes of one client's messages -> float32 [n] at 16 kHz, with the resampler's state between them."""

    request: Request
    _resampler: Resampler = field(init=False)
    _wav: Wav = field(init=False)

    def __post_init__(self) -> None:
        asked = self.request
        object.__setattr__(self, "_resampler", Resampler(asked.rate, asked.channels))
        object.__setattr__(self, "_wav", Wav(asked.rate, asked.channels, FORMATS[asked.format], "<", 0, 0))

    def decoded(self, data: bytes) -> NDArray[np.float32]:
        """One message. Raises InputError: no whole samples, too many, or numbers that are no sound."""
        if len(data) % self._wav.frame_bytes:
            raise InputError(
                f"expected whole samples of {self._wav.frame_bytes} bytes in a message ({self.request.format}, {self.request.channels} "
                f"channels), got {len(data)} bytes"
            )
        if self._wav.seconds(len(data)) > MESSAGE_SECONDS:
            raise InputError(
                f"expected at most {MESSAGE_SECONDS:.0f} s of sound in a message, got {self._wav.seconds(len(data)):.1f} s: send less at once"
            )
        samples = self._wav.decoded(data)
        check_samples("the stream", samples)
        return self._resampler.push(samples)

    def rest(self) -> NDArray[np.float32]:
        """What the filter still holds at the end."""
        return self._resampler.flush()

    def at_own_rate(self, samples: Any) -> int:
        """So many samples of the client's, at 16 kHz. Raises InputError where they are none."""
        most = 24 * 3600 * self.request.rate
        if isinstance(samples, bool) or not isinstance(samples, int) or not 0 < samples <= most:
            raise InputError(f"expected 1 to {most} lost samples, got {printable(repr(samples))[:40]}")
        return round(samples * SAMPLE_RATE_HZ / self.request.rate)
