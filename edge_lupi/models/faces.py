"""The faces of a corpus, looked for once: kept per video with a fingerprint, and what an eye is shown of them.

A video's rows (see `edge_lupi.data.faces`) lie in `$XDG_CACHE_HOME/edge-lupi/faces`, or under `~/.cache`, for their owner
alone, under a name that changes with whatever they depend on. Each is written at once, so a training that is killed goes
on where it was, and trainings beside each other share the work.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_lupi.data.aligned import aligned_frames
from edge_lupi.data.digest import file_digest
from edge_lupi.data.faces import EYES, FEATURES, ROW, FaceFinder, face_model, need_mediapipe, segment_features
from edge_lupi.data.sight import Sight
from edge_lupi.data.utterance import Utterance
from edge_lupi.data.video import times_of
from edge_lupi.disk import plain_array, read_bounded, write_at_once
from edge_lupi.errors import InputError
from edge_lupi.progress import progress

__all__ = ["any_face", "face_sight", "find_faces"]

log = logging.getLogger(__name__)

VERSION = 1  # of what a row says
LARGEST_BYTES = 1 << 24
TOLD_SECONDS = 5.0


@dataclass(frozen=True)
class _Look:
    """A stretch of a video that an utterance takes: so many frames from a time on."""

    video: Path
    start_seconds: float
    frames: int
    fps: float

    @property
    def times(self) -> NDArray[np.float64]:
        """When each of its frames is seen."""
        return times_of(self.start_seconds, self.start_seconds + self.frames / self.fps, self.fps)


def face_sight(utterance: Utterance, segments: int, sight: Sight, speed: float = 1.0) -> Tensor:
    """What the eye gets per segment: features float32 [S, 117], or crops uint8 [S, N, H, W]; where no face is, NaN or black."""
    look, starts, length = _look(utterance, segments, sight, speed), *_frames(segments, sight)
    rows = np.full((starts[-1] + length, ROW), np.nan, np.float32) if look is None else _rows(look, sight)
    if sight.kind == "face":
        return torch.from_numpy(segment_features(rows, starts, length))
    size = sight.frame_size
    if look is None or not np.isfinite(rows).any():
        return torch.zeros(segments, length, size, size, dtype=torch.uint8)
    crops = aligned_frames(look.video, look.times, rows[:, EYES], size)
    return torch.from_numpy(np.stack([crops[start : start + length] for start in starts]))


def any_face(video: Tensor | None) -> bool:
    """Whether an eye is shown a face anywhere in what `face_sight` gave."""
    if video is None:
        return False
    return bool(video.any() if video.dtype == torch.uint8 else (video[:, FEATURES - 1] > 0).any())


def find_faces(spoken: Iterable[tuple[Utterance, int, float]], sight: Sight) -> None:
    """Look at the videos of utterances of so many segments, at a speed, that nobody has looked at, and say how many faces there are."""
    _mediapipe()
    face_model(sight.face_model)
    longest: dict[tuple[Path, float, float], _Look] = {}
    blind: set[str] = set()
    for utterance, segments, speed in spoken:
        look = _look(utterance, segments, sight, speed)
        if look is None:
            blind.add(utterance.name)
        elif (known := longest.get((look.video, look.start_seconds, look.fps))) is None or known.frames < look.frames:
            longest[look.video, look.start_seconds, look.fps] = look
    looks = list(longest.values())
    _find([look for look in looks if _kept(look, sight) is None], sight)
    seen = [np.isfinite(_rows(look, sight)[:, 0]) for look in looks]
    if os.environ.get("RANK", "0") == "0":
        log.info(_told(seen, len(blind)))


def _told(seen: Sequence[NDArray[np.bool_]], blind: int) -> str:
    frames, faces = sum(map(len, seen)), sum(int(one.sum()) for one in seen)
    faceless = sum(not one.any() for one in seen)
    masked = [f"{n} {what}" for n, what in ((faceless, "without a face"), (blind, "without video")) if n]
    return f"faces in {faces} of {frames} frames of {len(seen)} clips" + (
        f"; masked: {' and '.join(masked)}" if masked else ""
    )


def _look(utterance: Utterance, segments: int, sight: Sight, speed: float) -> _Look | None:
    """Of a sound at a speed as many frames, nearer to each other or further apart."""
    video = utterance.video
    if video is None:
        return None
    if video.path is None or not video.is_raw:
        raise InputError(f'expected a video file for {utterance.name}, got features: set teacher.video = "features"')
    starts, length = _frames(segments, sight)
    return _Look(video.path, utterance.start_seconds, starts[-1] + length, sight.frames_per_second / speed)


def _frames(segments: int, sight: Sight) -> tuple[list[int], int]:
    """The frame that each segment begins with, and how many it has."""
    return sight.starts(range(segments)), max(1, sight.segment_frames)


def _rows(look: _Look, sight: Sight) -> NDArray[np.float32]:
    """What is seen in a stretch, float32 [N, 62]: as it was kept, or looked for now."""
    kept = _kept(look, sight)
    if kept is not None:
        return kept
    with closing(FaceFinder(face_model(sight.face_model))) as finder:
        return _found(look, sight, finder)


def _kept(look: _Look, sight: Sight) -> NDArray[np.float32] | None:
    """What lies in the cache, where it is whole and as long as this stretch; None so that it is looked for anew."""
    try:
        rows = plain_array(read_bounded(_path(look, sight), LARGEST_BYTES))
    except (InputError, ValueError):
        return None
    fits = rows.dtype == np.float32 and rows.ndim == 2 and rows.shape[1] == ROW and len(rows) >= look.frames
    return rows[: look.frames] if fits else None


def _found(look: _Look, sight: Sight, finder: FaceFinder) -> NDArray[np.float32]:
    rows, path, packed = finder.rows(look.video, look.times), _path(look, sight), io.BytesIO()
    np.save(packed, rows)
    try:
        for folder in (path.parent.parent, path.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_at_once(path, packed.getvalue(), 0o600)
    except OSError as error:
        raise InputError(
            f"could not write {path} ({error.strerror}): free some space, or set XDG_CACHE_HOME to another folder"
        ) from error
    return rows


def _path(look: _Look, sight: Sight) -> Path:
    """Of a stretch from its beginning on: a longer one takes its place."""
    made_of = [VERSION, _mediapipe(), file_digest(face_model(sight.face_model)), file_digest(look.video)]
    key = hashlib.sha256(json.dumps([*made_of, look.start_seconds, look.fps]).encode()).hexdigest()
    return _folder() / key[:2] / f"{key[2:]}.npy"


def _folder() -> Path:
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:
        raise InputError(
            "expected a home folder, where what is seen of faces is kept, got none for this user: set XDG_CACHE_HOME to a folder"
        ) from error
    return root / "edge-lupi" / "faces"


@lru_cache
def _mediapipe() -> str:
    return need_mediapipe()


def _find(looks: list[_Look], sight: Sight) -> None:
    """Look at all of them, one on every thread, and say how far it is. Raises what the first that cannot be read says."""
    random.Random(os.getpid()).shuffle(looks)  # processes beside each other begin at different ends
    began = told = time.monotonic()
    for done, _ in enumerate(_at_once(looks, sight), 1):
        now = time.monotonic()
        if done == len(looks) or now - told > TOLD_SECONDS:
            left = (now - began) / done * (len(looks) - done)
            progress(log, f"faces  clip {done}/{len(looks)}  {left / 60:.1f} min left", last=done == len(looks))
            told = now


def _at_once(looks: Sequence[_Look], sight: Sight) -> Iterator[None]:
    threads = min(torch.get_num_threads(), len(looks))
    finders: SimpleQueue[FaceFinder] = SimpleQueue()

    def look_at(look: _Look) -> None:
        if _kept(look, sight) is None:  # another process may have been here
            finder = finders.get()
            try:
                _found(look, sight, finder)
            finally:
                finders.put(finder)

    model = face_model(sight.face_model)
    try:
        for _ in range(threads):
            finders.put(FaceFinder(model))
        with ThreadPoolExecutor(max(1, threads)) as pool:
            try:
                for done in as_completed([pool.submit(look_at, look) for look in looks]):
                    done.result()
                    yield
            finally:
                pool.shutdown(cancel_futures=True)
    finally:
        while not finders.empty():
            finders.get().close()
