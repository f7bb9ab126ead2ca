"""Sound file headers, held against what the file holds. Open file -> its parts, and a doubt if there is one.

A recorder that was killed leaves a length of nothing, a copy that broke off half of the sound, and 32 bits wrap at 4 GiB;
libraries then give less than is there, or less than there was, and say nothing. Files one after another in one file, as
`cat` makes them, are all read.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO

from edge_lupi.sound.wav import Wav, read_wav

__all__ = ["Doubt", "Part", "wav_parts", "whole_files"]

WRAP_BYTES = 1 << 32
RIFF = (b"RIFF", b"RF64", b"RIFX")
PAGE_BYTES = 27  # of an Ogg page's header, before its table of segments
BEGINS, ENDS = 2, 4  # flags of an Ogg page
FLAC_BEGINS = b"fLaC\0\0\0\x22"
MP3_TAGS = (b"Xing\0\0\0", b"Info\0\0\0")  # in the first frame of a file
MP3_TAG_AT = 40  # bytes into that frame, at most


@dataclass(frozen=True)
class Doubt:
    """What was promised and what there is, as the two halves of a sentence."""

    expected: str
    got: str

    def told(self, name: str) -> str:
        """For somebody who listens."""
        return f"expected {self.expected} in {name}, got {self.got}: what is there is heard"

    def refused(self, name: str) -> str:
        """For training, which must not learn from half of something."""
        return f"expected {self.expected} in {name}, got {self.got}: copy it anew; if this is all of it, write it anew, as with ffmpeg -i"


@dataclass(frozen=True)
class Part:
    """Samples of a WAV: how, where and how many bytes of them."""

    wav: Wav
    start: int
    size: int


def wav_parts(file: BinaryIO, size: int, name: str) -> tuple[list[Part], Doubt | None]:
    """Where the samples of a WAV lie; nowhere where it is none, or one that only a library can decode."""
    parts = list[Part]()
    offset = 0
    while True:
        file.seek(offset)
        wav = read_wav(file.read, name)
        if wav is None:
            return parts, None
        start = offset + wav.start
        promised, there = wav.promised_bytes, size - start
        after = start + promised + promised % 2
        following = _next_file(file, after, size) if promised <= there else None
        count, doubt = _held(wav, there, None if following is None else following)
        parts.append(Part(wav, start, count // wav.frame_bytes * wav.frame_bytes))
        if not following or doubt:
            return parts, doubt
        offset = following


def _held(wav: Wav, there: int, following: int | None) -> tuple[int, Doubt | None]:
    """Bytes of samples to read of those there, and a doubt. `following` is 0 where nothing but chunks comes after them."""
    promised = wav.promised_bytes
    if promised <= there and following is not None:
        return promised, None
    if promised <= there and (there - promised) // WRAP_BYTES:
        promised += (there - promised) // WRAP_BYTES * WRAP_BYTES
        return promised, Doubt(
            f"{wav.seconds(wav.promised_bytes):.1f} s of sound, as the header says,", _lasts(wav, promised)
        )
    if wav.endless:
        return there, Doubt(
            "a header that says how long the sound is", f"one whose writer never did, and {_lasts(wav, there)}"
        )
    return there, Doubt(f"{wav.seconds(promised):.1f} s of sound, as the header says,", _lasts(wav, there))


def _lasts(wav: Wav, count: int) -> str:
    return f"{wav.seconds(count):.1f} s"


def _next_file(file: BinaryIO, offset: int, size: int) -> int | None:
    """Where another WAV begins behind chunks that are no sound; 0 where none does, None where there is something else."""
    while offset < size - 8:
        file.seek(offset)
        head = file.read(8)
        if head[:4] in RIFF:
            return offset
        if not (head[:4].isascii() and head[:4].decode().isprintable()):
            return None if any(head) or size - offset >= WRAP_BYTES else 0
        length = struct.unpack("<I", head[4:])[0]
        offset += 8 + length + length % 2
    return 0


def whole_files(file: BinaryIO, size: int, kind: str) -> tuple[list[tuple[int, int]], Doubt | None]:
    """The files that lie one after another in one: [first byte, last byte) of each."""
    doubt = None
    if kind == "OGG":
        starts, doubt = _ogg_starts(file, size)
    elif kind in ("FLAC", "MP3"):
        starts = [0, *_later_starts(file, kind)]
    else:
        starts, doubt = [0], _aiff_doubt(file, size) if kind == "AIFF" else None
    return list(pairwise([*starts, size])), doubt


def _later_starts(file: BinaryIO, kind: str) -> Iterator[int]:
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for magic in (FLAC_BEGINS,) if kind == "FLAC" else MP3_TAGS:
            at = content.find(magic)
            while (at := content.find(magic, at + 1)) > 0:
                frame = at if kind == "FLAC" else content.rfind(b"\xff", at - MP3_TAG_AT, at)
                if frame > 0:
                    yield frame


def _ogg_starts(file: BinaryIO, size: int) -> tuple[list[int], Doubt | None]:
    """A page that begins a stream, after one that does not, begins another file."""
    starts, offset, flags, before = [0], 0, ENDS, BEGINS
    while offset + PAGE_BYTES <= size:
        file.seek(offset)
        page = file.read(PAGE_BYTES + 255)
        if page[:4] != b"OggS":
            break
        before, flags = flags, page[5]
        if offset and flags & BEGINS and not before & BEGINS:
            starts.append(offset)
        table = page[PAGE_BYTES : PAGE_BYTES + page[26]]
        offset += PAGE_BYTES + len(table) + sum(table)
    whole = flags & ENDS and offset <= size
    return starts, None if whole else Doubt("a stream that ends", "one that is cut short")


def _aiff_doubt(file: BinaryIO, size: int) -> Doubt | None:
    file.seek(4)
    promised = 8 + struct.unpack(">I", file.read(4).rjust(4, b"\0"))[0]
    return None if promised <= size + 1 else Doubt(f"{promised} bytes, as the header says,", f"{size}")
