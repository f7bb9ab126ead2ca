"""WAV headers, read by ourselves: where a header is wrong or endless, the samples behind it are still whole.

bytes of a pipe or file -> Wav; its `decoded` maps bytes of samples to float32 [n, channels] in [-1, 1].
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from edge_lupi.errors import InputError

__all__ = ["Wav", "read_wav"]

Samples = NDArray[np.float32]
ENDLESS = 0x7FFF_0000  # from here up recorders that write to a pipe put any figure: they cannot know
MOST_BEFORE_SAMPLES = 1 << 20  # bytes of other chunks
PCM, FLOAT, A_LAW, MU_LAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
ENCODINGS = {
    (PCM, 8): "u1",
    (PCM, 16): "i2",
    (PCM, 24): "i3",
    (PCM, 32): "i4",
    (FLOAT, 32): "f4",
    (FLOAT, 64): "f8",
    (A_LAW, 8): "alaw",
    (MU_LAW, 8): "ulaw",
}


@dataclass(frozen=True)
class Wav:
    """What a header says. `start` is where the samples begin, `promised_bytes` how many there should be of them."""

    rate_hz: int
    channels: int
    encoding: str
    order: str
    start: int
    promised_bytes: int

    @property
    def sample_bytes(self) -> int:
        """Of one sample of one channel."""
        return 1 if self.encoding.endswith("law") else int(self.encoding[1])

    @property
    def frame_bytes(self) -> int:
        """Of one sample of every channel."""
        return self.sample_bytes * self.channels

    @property
    def endless(self) -> bool:
        """Whether the header does not know the length: its writer was stopped before it could say, or wrote to a pipe."""
        return self.promised_bytes == 0 or ENDLESS <= self.promised_bytes < 1 << 32

    def seconds(self, count: int) -> float:
        """How long so many bytes of samples last."""
        return count / (self.frame_bytes * self.rate_hz)

    def decoded(self, data: bytes) -> Samples:
        """Bytes of whole frames -> float32 [n, channels]."""
        return self._floats(data).reshape(-1, self.channels)

    def _floats(self, data: bytes) -> Samples:
        if self.encoding.endswith("law"):
            return _g711(self.encoding)[np.frombuffer(data, np.uint8)]
        if self.encoding == "u1":
            result: Samples = (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / np.float32(128)
            return result
        if self.encoding == "i3":
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)[:, :: 1 if self.order == "<" else -1]
            return np.asarray(wide.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31), np.float32)
        numbers = np.frombuffer(data, self.order + self.encoding)
        scale = 1 if self.encoding[0] == "f" else 2 ** (8 * self.sample_bytes - 1)
        return np.asarray(numbers.astype(np.float32) / np.float32(scale), np.float32)


def read_wav(read: Callable[[int], bytes], where: str) -> Wav | None:
    """The header that `read` gives from its beginning; None where it is no WAV, or one that only a library can decode.

    Afterwards `read` gives the samples. `where` names the file or pipe in the sentence. Raises InputError.
    """
    head = read(12)
    order = {b"RIFF": "<", b"RF64": "<", b"RIFX": ">"}.get(head[:4])
    if order is None or head[8:] != b"WAVE":
        return None
    at, form, long_bytes = 12, b"", 0
    while at < MOST_BEFORE_SAMPLES:
        chunk = read(8)
        if len(chunk) < 8:
            break
        size = struct.unpack(order + "I", chunk[4:])[0]
        at += 8
        if chunk[:4] == b"data":
            promised = long_bytes if head[:4] == b"RF64" and size == 0xFFFF_FFFF else size
            return _wav(form, order, at, promised)
        if size > MOST_BEFORE_SAMPLES:
            break
        body = read(size + size % 2)
        at += len(body)
        form = body if chunk[:4] == b"fmt " else form
        long_bytes = struct.unpack("<Q", body[8:16])[0] if chunk[:4] == b"ds64" and len(body) >= 16 else long_bytes
    raise InputError(
        f"expected samples behind the WAV header of {where}, got none in the first {MOST_BEFORE_SAMPLES} bytes: convert it to WAV anew"
    )


def _wav(form: bytes, order: str, start: int, promised_bytes: int) -> Wav | None:
    if len(form) < 16:
        return None
    code, channels, rate_hz, _, _, bits = struct.unpack(order + "HHIIHH", form[:16])
    if code == EXTENSIBLE and len(form) >= 26:
        code = struct.unpack(order + "H", form[24:26])[0]
    encoding = ENCODINGS.get((code, bits))
    return Wav(rate_hz, channels, encoding, order, start, promised_bytes) if encoding and channels and rate_hz else None


@cache
def _g711(law: str) -> Samples:
    """The 256 values of A-law or mu-law (ITU-T G.711), float32."""
    code = np.arange(256) ^ (0x55 if law == "alaw" else 0xFF)
    exponent, mantissa = code >> 4 & 7, code & 15
    if law == "alaw":
        size = np.where(exponent == 0, 2 * mantissa + 1, (2 * mantissa + 33) << np.maximum(exponent - 1, 0)) * 8
        sign = np.where(code & 0x80, 1, -1)
    else:
        size = ((2 * mantissa + 33 << exponent) - 33) * 4
        sign = np.where(code & 0x80, -1, 1)
    return np.asarray(sign * size / 32768, np.float32)
