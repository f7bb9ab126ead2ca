"""SHA-256 of files and of utterances: path -> hex digest, kept in memory by path, size and time of change."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from edge_lupi.data.utterance import Utterance
from edge_lupi.errors import InputError

__all__ = ["digest_of", "file_digest", "json_digest"]

PIECE_BYTES = 1 << 20


def file_digest(path: Path) -> str:
    """sha256 of what lies in a file."""
    try:
        status = path.stat()
        return _file_sha256(str(path), status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise InputError(f"expected a file at {path}, got {error.strerror}: check the path") from error


@lru_cache(maxsize=1 << 20)
def _file_sha256(path: str, size: int, changed_ns: int) -> str:
    found = hashlib.sha256()
    with open(path, "rb", opener=_plainly) as file:
        while piece := file.read(PIECE_BYTES):
            found.update(piece)
    return found.hexdigest()


def _plainly(path: str, flags: int) -> int:
    """A pipe is not waited for."""
    return os.open(path, flags | os.O_NONBLOCK)


def digest_of(utterances: Sequence[Utterance], classes: Sequence[str]) -> str:
    """Of names, labels, speakers, splits, times, and what lies in the files of sound and video."""
    return json_digest([list(classes), *map(_content, utterances)])


def _content(utterance: Utterance) -> list[object]:
    u, video = utterance, utterance.video
    seen = None if video is None else [video.features, video.frames_per_second, video.path and file_digest(video.path)]
    return [u.name, u.label, u.speaker, u.split, u.start_seconds, u.end_seconds, file_digest(u.audio), seen]


def json_digest(content: object) -> str:
    """sha256 of plain content, written as JSON."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
