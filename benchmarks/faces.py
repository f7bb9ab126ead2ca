"""In how many pictures is a face found, and does that depend on the size and rate of a video? mediapipe's Face Landmarker.

python benchmarks/faces.py $EDGE_LUPI_DATA/grid_s1_av/multi_speaker_originals/*.mpg

Every video as it is, and encoded anew (MPEG-4) at other sizes and rates; $EDGE_LUPI_FACE_MODEL names the model. In a
row: pictures with a face of all pictures at 25 a second, the largest distance of an eye from where it was in the
original, in shares of the distance between the eyes, and the correlation of jawOpen with the original's.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from edge_lupi.data.faces import EYES, FaceFinder, face_model
from edge_lupi.data.video import pictures_at, times_of

ANEW = ((2.0, 60), (1.5, 30), (0.75, 15), (0.5, 12))  # times the size, pictures a second
SECONDS = 3.0
FPS = 25
JAW_OPEN = 25


def encoded_anew(video: Path, scale: float, rate: int, folder: Path) -> Path:
    """The same pictures at another size and rate."""
    path = folder / f"{video.stem}_{rate}.mp4"
    with av.open(str(video)) as source:
        shown = source.streams.video[0]
        width, height = (2 * round(scale * side / 2) for side in (shown.width, shown.height))
    times = times_of(0, SECONDS, rate)
    with av.open(str(path), "w") as container:
        track = container.add_stream("mpeg4", rate=rate)
        track.width, track.height, track.pix_fmt, track.bit_rate = width, height, "yuv420p", width * height * 8
        for place, picture in pictures_at(video, times):
            for number in range(place.start, place.stop):
                frame = picture.reformat(width, height, "yuv420p")
                frame.pts, frame.time_base, frame.pict_type = number, Fraction(1, rate), 0
                container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path)
    videos, found = parser.parse_args().videos, []
    times = times_of(0, SECONDS, FPS)
    with closing(FaceFinder(face_model(""))) as finder, tempfile.TemporaryDirectory() as folder:
        own = [finder.rows(video, times) for video in videos]
        print(f"{'size, rate':<18}{'with a face':>14}{'eyes':>8}{'jaw':>7}")
        found.append(_compared("original", own, own))
        for scale, rate in ANEW:
            anew = [finder.rows(encoded_anew(video, scale, rate, Path(folder)), times) for video in videos]
            found.append(_compared(f"x {scale:g}, {rate}/s", own, anew))
    print(json.dumps(found))


def _compared(size: str, own: list[np.ndarray], other: list[np.ndarray]) -> dict[str, Any]:
    a, b = np.concatenate(own), np.concatenate(other)
    seen = np.isfinite(a[:, 0]) & np.isfinite(b[:, 0])
    apart = np.abs(a[seen, EYES][:, 2] - a[seen, EYES][:, 0])
    faces, eyes = int(np.isfinite(b[:, 0]).sum()), float((np.abs(a - b)[seen, EYES].max(1) / apart).max())
    jaw = float(np.mean([_agree(x, y) for x, y in zip(own, other, strict=True)]))
    print(f"{size:<18}{faces:>7} of {len(b):<4}{eyes:>7.2f}{jaw:>7.2f}")
    return {"size": size, "faces": faces, "pictures": len(b), "eyes": eyes, "jaw": jaw}


def _agree(own: np.ndarray, other: np.ndarray) -> float:
    seen = np.isfinite(own[:, 0]) & np.isfinite(other[:, 0])
    return float(np.corrcoef(own[seen, JAW_OPEN], other[seen, JAW_OPEN])[0, 1])


if __name__ == "__main__":
    main()
