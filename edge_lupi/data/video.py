"""Frames of a video file: path -> uint8 [N, size, size], grey, N = round((end - start) * fps) exactly.

Frame i is what a viewer sees at start + i / fps from the first picture on, turned upright as a phone's rotation flag says;
where the file is short its last frame stands still. Regions are fixed
cuts, not a face detector. Checked by eye on GRID:

- "whole": the middle square of the picture.
- "mouth", square picture (a face from eyes to chin, as GRID at 96x96): half its width, rows .38 to .88, columns .25
  to .75: from under the nose to the chin, with room for a head that moves.
- "mouth", other picture (head and shoulders, as GRID at 360x288): a square of .42 of the height around (.48, .75).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_lupi.disk import kind_of
from edge_lupi.errors import InputError, MissingExtra

if TYPE_CHECKING:
    from av import VideoFrame

__all__ = ["REGIONS", "pictures_at", "read_frames", "times_of", "upright"]

REGIONS = ("mouth", "whole")
MOST_FRAMES = 15_000  # ten minutes at 25 fps
SIZES = range(8, 513)
EARLY_SECONDS = 1e-3  # timestamps are rounded to the container's clock


def read_frames(
    path: str | os.PathLike[str],
    *,
    start_seconds: float,
    end_seconds: float,
    size: int,
    fps: float = 25.0,
    region: str = "whole",
) -> NDArray[np.uint8]:
    """The pictures of [start, end), uint8 [N, size, size]. The file is decoded from its beginning: meant for clips."""
    if region not in REGIONS:
        raise InputError(f"expected a region among {', '.join(REGIONS)}, got {region!r}")
    if size not in SIZES:
        raise InputError(f"expected a size of {SIZES[0]} to {SIZES[-1]} pixels, got {size}")
    times = times_of(start_seconds, end_seconds, fps)
    out = np.empty((len(times), size, size), np.uint8)
    for place, picture in pictures_at(Path(path), times):
        out[place] = _cut(picture, size, region)
    return out


def times_of(start_seconds: float, end_seconds: float, fps: float) -> NDArray[np.float64]:
    """The times of the frames of [start, end), in seconds. Raises InputError where there are none, or too many."""
    frames = (end_seconds - start_seconds) * fps
    if not (0 <= start_seconds < end_seconds and 0 < fps <= 1000 and 0.5 < frames <= MOST_FRAMES):
        raise InputError(
            f"expected 1 to {MOST_FRAMES} frames, got {start_seconds} s to {end_seconds} s at {fps} fps: choose another stretch"
        )
    return start_seconds + np.arange(round(frames)) / fps


def pictures_at(path: Path, times: NDArray[np.float64]) -> Iterator[tuple[slice, VideoFrame]]:
    """What a viewer sees at these times: every picture once, with the places in `times` at which it is seen."""
    filled = 0
    shown: VideoFrame | None = None
    for frame, seconds in _decoded(path):
        due = int(
            np.searchsorted(times, seconds - EARLY_SECONDS)
        )  # times before this frame belong to the one shown so far
        if due > filled:
            yield slice(filled, due), shown if shown is not None else frame
            filled = due
        if filled == len(times):
            return
        shown = frame
    if shown is None:
        raise InputError(f"expected a video with frames in {path}, got none: check the file")
    if filled == 0 and times[0] >= seconds + 1.0:
        raise InputError(
            f"expected a start before the end of {path} ({seconds:.2f} s), got {times[0]:.2f} s: correct the times"
        )
    yield slice(filled, len(times)), shown


def _decoded(path: Path) -> Iterator[tuple[VideoFrame, float]]:
    """(frame, its time in seconds from the first frame) of the first video track."""
    try:
        import av
    except ImportError as error:
        raise MissingExtra("with video", "PyAV", "train") from error
    kind = kind_of(path)
    if kind != "file":
        got = {"folder": "a folder", "nothing": "no such file", "other": "something that is no plain file"}[kind]
        raise InputError(f"expected a video file at {path}, got {got}: check the path")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"expected a video track in {path}, got a file without one: give a file with pictures")
            track = container.streams.video[0]
            step = 1 / (track.average_rate or Fraction(25))
            first: float | None = None
            for number, frame in enumerate(container.decode(track)):
                seconds = float(number * step if frame.time is None else frame.time)
                first = seconds if first is None else first
                yield frame, seconds - first
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"expected a video in {path}, got something else ({reason}): convert it to MP4") from error


def _cut(frame: VideoFrame, size: int, region: str) -> NDArray[np.uint8]:
    """One decoded frame -> uint8 [size, size]."""
    import av

    grey = upright(frame.to_ndarray(format="gray"), frame.rotation)
    top, left, side = _square(grey.shape[0], grey.shape[1], region)
    square = np.ascontiguousarray(grey[top : top + side, left : left + side])
    if side == size:
        return square
    scaled = av.VideoFrame.from_ndarray(square, format="gray").reformat(
        width=size, height=size, interpolation="AREA" if side > size else "BILINEAR"
    )
    return np.asarray(scaled.to_ndarray(), np.uint8)


def upright(picture: NDArray[np.uint8], degrees: int) -> NDArray[np.uint8]:
    """A picture [H, W] or [H, W, 3] as the file says that it is to be seen: turned counterclockwise, as phones ask for by quarters."""
    return np.ascontiguousarray(np.rot90(picture, round(degrees / 90)))


def _square(height: int, width: int, region: str) -> tuple[int, int, int]:
    """Top, left and side of the region in a picture."""
    if region == "whole":
        side = min(height, width)
        return (height - side) // 2, (width - side) // 2, side
    if height == width:
        return round(0.38 * height), round(0.25 * width), max(1, round(0.5 * height))
    side = max(1, min(round(0.42 * height), width))
    return (
        min(round(0.75 * height) - side // 2, height - side),
        min(max(0, round(0.48 * width) - side // 2), width - side),
        side,
    )
