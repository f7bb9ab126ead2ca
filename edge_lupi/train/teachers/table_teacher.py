"""Table teacher: vectors that were made elsewhere. table.npz -> vectors float32 [R, D] of the training examples.

utterance [N]     names as the corpus has them          embedding [N, D]   float
speed [N]         where the recipe has speeds, else 1   segment [N]        which segment, where a row is of one
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_lupi.disk import unpacked_arrays
from edge_lupi.errors import InputError

__all__ = ["Row", "table_vectors"]

MAX_TABLE_BYTES = 8 << 30
Key = tuple[str, float, int]


class Row(Protocol):
    """An utterance of training at a speed, and its number of segments."""

    @property
    def name(self) -> str:
        """As the corpus has it."""

    @property
    def speed(self) -> float:
        """1 is as it was said."""

    @property
    def segments(self) -> int:
        """Whole ones."""


def table_vectors(
    path: str, packed: bytes, examples: Sequence[Row], *, by_segment: bool = False
) -> NDArray[np.float32]:
    """One row per example, or per segment of every example."""
    rows, vectors = _table(path, packed, by_segment)
    wanted: list[Key] = [
        (example.name, round(example.speed, 3), segment)
        for example in examples
        for segment in range(example.segments if by_segment else 1)
    ]
    absent = [key for key in wanted if key not in rows]
    if absent:
        name, speed, segment = absent[0]
        at = f" at speed {speed:g}" + (f", segment {segment}" if by_segment else "")
        raise InputError(
            f"expected a vector for all {len(wanted)} rows of training in {path}, got {len(absent)} without, the first {name}{at}: make them, too"
        )
    return vectors[[rows[key] for key in wanted]]


def _table(path: str, packed: bytes, by_segment: bool) -> tuple[dict[Key, int], NDArray[np.float32]]:
    try:
        arrays = unpacked_arrays(packed, MAX_TABLE_BYTES)
        names, vectors = arrays["utterance"], arrays["embedding"].astype(np.float32)
        count = len(names)
        speeds = arrays.get("speed", np.ones(count))
        segments = arrays["segment"] if by_segment else np.zeros(count, int)
        if names.shape != (count,) or vectors.ndim != 2 or {len(vectors), len(speeds), len(segments)} != {count}:
            raise ValueError(f"shapes {names.shape}, {vectors.shape}, {speeds.shape} and {segments.shape}")
        if not count or not np.isfinite(vectors).all():
            raise ValueError("no rows, NaN or infinity")
    except (ValueError, KeyError, TypeError) as error:
        columns = "utterance [N], embedding [N, D]" + (" and segment [N]" if by_segment else "")
        raise InputError(f"expected {columns} in {path}, got something else ({error}): make the table again") from error
    keys = zip(names.tolist(), np.round(speeds, 3).tolist(), segments.tolist(), strict=True)
    return {(str(name), float(speed), int(segment)): row for row, (name, speed, segment) in enumerate(keys)}, vectors
