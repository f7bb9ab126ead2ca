"""Facial expression and head pose in pictures: RGB uint8 [H, W, 3] -> float32 [62], all NaN where no face is seen.

mediapipe's Face Landmarker looks for one face in every picture by itself, so a picture gives the same numbers in whatever
clip, at whatever frame rate. Of a row come in turn:

- 52 blendshapes in [0, 1], as ARKit names them: jawOpen, mouthPucker, browInnerUp ...
- yaw, pitch and roll of the head, in radians
- where it is, without a scale: to the right and up as shares of the distance, and the distance's logarithm
- the middles of its right and left eye: x and y as shares of the picture's width and height
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_lupi.data.video import pictures_at, upright
from edge_lupi.disk import read_bounded
from edge_lupi.errors import InputError, MissingExtra
from edge_lupi.installed import install_command

if TYPE_CHECKING:
    from av import VideoFrame

__all__ = [
    "EYES",
    "FACE_MODEL",
    "FEATURES",
    "MODEL_PAGE",
    "ROW",
    "FaceFinder",
    "face_model",
    "need_mediapipe",
    "refuse_reporting",
    "segment_features",
]

FACE_MODEL = "EDGE_LUPI_FACE_MODEL"
MODEL_PAGE = "https://ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker"
FIRST_REPORTING = (0, 10, 35)
LARGEST_MODEL_BYTES = 1 << 26
LONGEST_SIDE = 1280  # pixels: a face that is told apart is still large enough in it
SHAPES = 52
PLACE = slice(SHAPES + 3, SHAPES + 6)  # told from the middle of a clip: where the camera stood is no expression
MOVING = SHAPES + 6
EYES = slice(MOVING, MOVING + 4)
ROW = MOVING + 4
FEATURES = 2 * MOVING + 1
CORNERS = ((33, 133), (362, 263))  # of the right and of the left eye, among the 478 landmarks


def face_model(named: str) -> Path:
    """The model's file: the one that a recipe names, else that of $EDGE_LUPI_FACE_MODEL. Raises where neither says."""
    model = named or os.environ.get(FACE_MODEL)
    if not model:
        raise InputError(
            f"expected the model that finds faces, got none: fetch a face_landmarker .task file from {MODEL_PAGE} and name it by teacher.face_model or {FACE_MODEL}"
        )
    return Path(model)


def need_mediapipe() -> str:
    """Its version. Raises where it is not installed, or is one that sends anything anywhere."""
    if find_spec("mediapipe") is None:
        raise MissingExtra("with faces", "mediapipe", "video")
    installed = version("mediapipe")
    refuse_reporting(installed)
    return installed


def refuse_reporting(found: str) -> None:
    """Raises InputError for a version of mediapipe that reports to its maker whenever it is used, with no switch."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", found)[:3])
    if numbers >= FIRST_REPORTING:
        raise InputError(
            f"expected mediapipe below {'.'.join(map(str, FIRST_REPORTING))}, as later ones report to Google, got {found}: {install_command('video')}"
        )


class FaceFinder:
    """Looks at one picture after the other; not for several threads at once."""

    def __init__(self, model: Path) -> None:
        need_mediapipe()
        data = read_bounded(model, LARGEST_MODEL_BYTES, f"a face_landmarker .task file, as {MODEL_PAGE} has it,")
        with _silent():
            self._image, self._landmarker = _opened(model, data)

    def close(self) -> None:
        """Let go of its memory. Who leaves that to Python's end hears mediapipe's threads complain."""
        with _silent():
            self._landmarker.close()

    def rows(self, video: Path, times: NDArray[np.float64]) -> NDArray[np.float32]:
        """What is seen at these times of a video, float32 [N, 62]."""
        seen = np.full((len(times), ROW), np.nan, np.float32)
        for place, picture in pictures_at(video, times):
            seen[place] = self.row(_rgb(picture))
        return seen

    def row(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What is seen in a picture [H, W, 3], float32 [62]."""
        seen = self._landmarker.detect(self._image(picture))
        if not seen.face_landmarks:
            return np.full(ROW, np.nan, np.float32)
        shapes = [shape.score for shape in seen.face_blendshapes[0]]
        points = seen.face_landmarks[0]
        eyes = [(sum(points[i].x for i in eye) / 2, sum(points[i].y for i in eye) / 2) for eye in CORNERS]
        pose = _pose(np.asarray(seen.facial_transformation_matrixes[0], np.float64))
        return np.concatenate([shapes, pose, np.ravel(eyes)]).astype(np.float32)


def segment_features(rows: NDArray[np.float32], starts: list[int], length: int) -> NDArray[np.float32]:
    """Rows [N, 62] -> of every segment of so many frames mean and deviation, and the share of frames with a face [S, 117].

    NaN where there is no face to tell a mean of, or no two to tell a deviation of.
    """
    moving = rows[:, :MOVING].astype(np.float64)
    seen = np.isfinite(moving[:, 0])
    if seen.any():
        moving[:, PLACE] -= np.median(moving[seen, PLACE], axis=0)
    out = np.full((len(starts), FEATURES), np.nan)
    for features, start in zip(out, starts, strict=True):
        piece = slice(start, start + length)
        faces = moving[piece][seen[piece]]
        features[-1] = len(faces) / length
        if len(faces):
            features[:MOVING] = faces.mean(0)
        if len(faces) > 1:
            features[MOVING:-1] = faces.std(0)
    return out.astype(np.float32)


def _pose(matrix: NDArray[np.float64]) -> list[float]:
    """A face's place before the camera [4, 4] -> yaw, pitch, roll; right, up, log of the distance."""
    turn, (right, up, back) = matrix[:3, :3], matrix[:3, 3]
    away = max(-back, 1e-3)
    yaw, pitch = np.arctan2(turn[0, 2], turn[2, 2]), np.arcsin(np.clip(-turn[1, 2], -1, 1))
    return [yaw, pitch, np.arctan2(turn[1, 0], turn[1, 1]), right / away, up / away, np.log(away)]


def _rgb(picture: VideoFrame) -> NDArray[np.uint8]:
    """A decoded picture, upright, its longer side at most LONGEST_SIDE. In one piece: mediapipe reads no strides."""
    scale = min(1.0, LONGEST_SIDE / max(picture.width, picture.height))
    size = {} if scale == 1 else {side: max(1, round(scale * getattr(picture, side))) for side in ("width", "height")}
    return upright(picture.to_ndarray(format="rgb24", **size), picture.rotation)


def _opened(model: Path, data: bytes) -> tuple[Any, Any]:
    """What makes a picture mediapipe's, and its landmarker. All that it prints it prints here."""
    import mediapipe
    from mediapipe.tasks.python.core.base_options import BaseOptions
    from mediapipe.tasks.python.vision.face_landmarker import FaceLandmarker, FaceLandmarkerOptions

    def image(picture: NDArray[np.uint8]) -> Any:
        return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=picture)

    options = FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_buffer=data),
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
    )
    try:
        landmarker = FaceLandmarker.create_from_options(options)
        landmarker.detect(image(np.zeros((64, 64, 3), np.uint8)))
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"expected a face_landmarker .task file with blendshapes at {model}, got something else: fetch it from {MODEL_PAGE}"
        ) from error
    return image, landmarker


@contextmanager
def _silent() -> Iterator[None]:
    """Standard error goes nowhere: libraries write to it past Python."""
    if sys.stderr is not None:
        sys.stderr.flush()
    copy, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(copy, 2)
        os.close(copy)
        os.close(nowhere)
