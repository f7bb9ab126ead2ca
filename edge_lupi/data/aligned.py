"""Crops of faces with their eyes level and at a fixed place: video and eyes -> uint8 [N, size, size], grey.

The middle between the eyes comes to the middle of the crop, a third from its top, and the eyes two fifths of its width
apart: from the forehead to under the chin. A frame without a face is black, which no face is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_lupi.data.video import pictures_at, upright

__all__ = ["aligned_frames"]

EYES_APART = 0.4  # of the crop's width
EYES_BELOW_TOP = 1 / 3  # of its height
MOST_SAMPLES = 8  # of a picture's rows and columns, for one of a crop's


def aligned_frames(video: Path, times: NDArray[np.float64], eyes: NDArray[np.float32], size: int) -> NDArray[np.uint8]:
    """The face at each of these times; eyes [N, 4] as `edge_lupi.data.faces` tells them, NaN where there is none."""
    out = np.zeros((len(times), size, size), np.uint8)
    for place, picture in pictures_at(video, times):
        pair = eyes[place][0]
        if np.isfinite(pair).all():
            out[place] = _aligned(upright(picture.to_ndarray(format="gray"), picture.rotation), pair, size)
    return out


def _aligned(grey: NDArray[np.uint8], eyes: NDArray[np.float32], size: int) -> NDArray[np.uint8]:
    """Means of as many bilinear samples as the picture is finer than the crop; beyond the picture its edge goes on."""
    height, width = grey.shape
    right, left = eyes.reshape(2, 2).astype(np.float64) * (width, height)
    across = (left - right) / EYES_APART  # the crop's upper edge, in pixels of the picture
    down = np.array([-across[1], across[0]])
    samples = int(np.clip(np.ceil(np.hypot(*across) / size), 1, MOST_SAMPLES))
    along = (np.arange(size * samples) + 0.5) / (size * samples)
    x, y = (
        (right + left)[axis] / 2
        + across[axis] * (along - 0.5)[None, :]
        + down[axis] * (along - EYES_BELOW_TOP)[:, None]
        for axis in (0, 1)
    )
    fine = _between(grey, x - 0.5, y - 0.5)
    coarse = fine.reshape(size, samples, size, samples).mean((1, 3)).round()
    return np.asarray(np.maximum(1, coarse), np.uint8)  # not quite black: that is a frame without a face


def _between(grey: NDArray[np.uint8], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bilinear values at columns x and rows y."""
    x, y = np.clip(x, 0, grey.shape[1] - 1), np.clip(y, 0, grey.shape[0] - 1)
    left, top = (
        np.minimum(x.astype(int), grey.shape[1] - 2).clip(0),
        np.minimum(y.astype(int), grey.shape[0] - 2).clip(0),
    )
    right, bottom = np.minimum(left + 1, grey.shape[1] - 1), np.minimum(top + 1, grey.shape[0] - 1)
    u, v = x - left, y - top
    above = grey[top, left] * (1 - u) + grey[top, right] * u
    below = grey[bottom, left] * (1 - u) + grey[bottom, right] * u
    return np.asarray(above * (1 - v) + below * v)
