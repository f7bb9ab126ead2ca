"""Golden vectors of a bundle (golden.npz): a sound, and what the student must make of it. Checked arrays -> Golden; answers held against them.

This is the first time that a bundle's graphs run, so they run no more often than their cost allows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.errors import BundleError
from edge_lupi.frames import HOP_SAMPLES, MELS, SAMPLE_RATE_HZ
from edge_lupi.task import Task

__all__ = ["Golden", "cosine", "expect", "read_golden"]

Array = NDArray[np.float32]
MAX_SAMPLES = 4 * SAMPLE_RATE_HZ  # compile writes two seconds
MAX_WIDTH = 4096  # of an embedding


@dataclass(frozen=True)
class Golden:
    """`samples` int16 [T]; of them `log_mel` [80, F], the first segment's; `embeddings` [S, D]; per task `utterances` [D] and,
    where the task has labels and the bundle is no older one, `scores` [C].
    """

    samples: NDArray[np.int16]
    log_mel: Array
    embeddings: Array
    utterances: Mapping[str, Array]
    scores: Mapping[str, Array]


def read_golden(bundle: Bundle, tasks: Sequence[Task]) -> Golden:
    """Raises BundleError where an array is absent, or of another kind, shape or size than this student's would be."""
    arrays, cut = bundle.golden(), bundle.segmentation
    try:
        samples, embeddings = arrays["samples"], arrays["embeddings"]
        if samples.dtype != np.int16 or samples.ndim != 1 or not 0 < len(samples) <= MAX_SAMPLES:
            raise ValueError(f"expected at most {MAX_SAMPLES} samples of int16")
        count = cut.count(max(cut.samples, len(samples)) // HOP_SAMPLES)
        width = embeddings.shape[-1] if embeddings.ndim == 2 else 0
        if not 1 <= width <= MAX_WIDTH:
            raise ValueError(f"expected embeddings of 1 to {MAX_WIDTH} numbers")
        utterances = {task.name: arrays[f"utterance.{task.name}"] for task in tasks}
        scores = {t.name: arrays[f"scores.{t.name}"] for t in tasks if f"scores.{t.name}" in arrays}
        wanted = {
            "log_mel": (arrays["log_mel"], (MELS, cut.frames)),
            "embeddings": (embeddings, (count, width)),
            **{f"utterance.{name}": (value, (width,)) for name, value in utterances.items()},
            **{f"scores.{t.name}": (scores[t.name], (len(t.labels),)) for t in tasks if t.name in scores},
        }
        for name, (array, shape) in wanted.items():
            expect(array, shape, name)
    except KeyError as error:
        raise BundleError(f"golden.npz in {bundle.path} lacks {error}: compile the student anew") from error
    except ValueError as error:
        raise BundleError(
            f"golden.npz in {bundle.path} does not fit its student ({error}): compile the student anew"
        ) from error
    return Golden(samples, arrays["log_mel"], embeddings, utterances, scores)


def expect(array: object, shape: tuple[int, ...], name: str) -> Array:
    """The array, if it is finite float32 of this shape. Raises ValueError saying what it is."""
    if not isinstance(array, np.ndarray) or array.dtype != np.float32 or array.shape != shape:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "none"
        raise ValueError(f"expected {name} as float32 {shape}, got {found}"[:200])
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds numbers that are none")
    return array


def cosine(a: Array, b: Array) -> float:
    """Of two vectors."""
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-12))
