"""Some sound as it is handed over: float32 [n] at 16 kHz mono, with when it came and what was lost before it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Block"]


@dataclass(frozen=True, eq=False)
class Block:
    """Samples float32 [n] in [-1, 1] at 16 kHz, any n.

    `received_seconds` is `time.perf_counter()` when its last sample came: now, unless told otherwise. `dropped` counts the
    samples lost since the stream began, `gap` says that some were lost right before this block. `stream` names the stream
    where a source has several. `more` says that another block is ready right behind this one, so that their segments may
    share a batch. `reconnected` marks the first block of a device that was away, and `peak_fill_seconds` is the most sound
    that has waited in the source until now.
    """

    samples: NDArray[np.float32]
    received_seconds: float = field(default_factory=time.perf_counter)
    dropped: int = 0
    gap: bool = False
    stream: str = ""
    more: bool = False
    reconnected: bool = False
    peak_fill_seconds: float = 0.0
