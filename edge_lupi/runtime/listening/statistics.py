"""Counts and compute times of a run: Blocks in, figures and a line for people out."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.runtime.sources.block import Block

__all__ = ["Progress", "Statistics"]

SILENT_DB = -80.0  # below this there is no room: 16 bits end at -96, a quiet room with an open microphone is at -60
KEPT_TIMES = 2_000  # of the newest segments: over a quarter of an hour of one stream


@dataclass(frozen=True)
class Progress:
    """How far a stream has come, the RMS level of its last segment in dB of full scale, and its lost samples."""

    seconds: float = 0.0
    level_db: float = -np.inf
    dropped: int = 0


@dataclass
class Statistics:
    """Counts and times of all streams together.

    `algorithm_seconds` is the method's delay, from the settings (see `latency`). `compute_ms` is the computer's: for each
    segment, the newest 2,000 of them, the time from its last block to its answer. `peak_fill_seconds` is the most sound
    that ever waited, `loudest_db` the level of the loudest segment, `reconnections` counts how often a device was lost and came back. `by_stream` goes on in silence too.
    `gpu_failures` counts how often the CPU took over from a GPU. `notices` are sentences about the sound and the GPU, each of
    which was also said on stderr.
    """

    algorithm_seconds: float = 0.0
    streams: int = 0
    heard_seconds: float = 0.0
    segments: int = 0
    encoded: int = 0
    dropped: int = 0
    peak_fill_seconds: float = 0.0
    loudest_db: float = -np.inf
    reconnections: int = 0
    gpu_failures: int = 0
    compute_ms: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT_TIMES))
    by_stream: dict[str, Progress] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    def count_block(self, block: Block, stream_seconds: float) -> None:
        """One more block, and how far its stream has come with it."""
        before = self.by_stream.get(block.stream) or Progress()
        self.by_stream[block.stream] = Progress(stream_seconds, before.level_db, block.dropped)
        self.dropped += block.dropped - before.dropped
        self.heard_seconds += len(block.samples) / SAMPLE_RATE_HZ
        self.peak_fill_seconds = max(self.peak_fill_seconds, block.peak_fill_seconds)
        self.reconnections += block.reconnected

    def count_level(self, stream: str, level_db: float) -> None:
        """The level of one more segment of a stream."""
        self.loudest_db = max(self.loudest_db, level_db)
        before = self.by_stream.get(stream)
        if before:
            self.by_stream[stream] = Progress(before.seconds, level_db, before.dropped)

    def percentile_ms(self, percent: float) -> float:
        """The compute time that so many per cent of the segments stay below."""
        return float(np.percentile(list(self.compute_ms), percent)) if self.compute_ms else 0.0

    def silence(self) -> str:
        """That nobody spoke, in a sentence for people; empty where somebody did, or there was no sound."""
        if self.encoded or not self.heard_seconds:
            return ""
        said = f"nobody spoke in these {self.heard_seconds:.1f} s"
        if self.loudest_db > SILENT_DB:
            return said
        return f"{said}, in which there was no sound at all (a microphone may be muted; edge-lupi devices lists them)"

    def __str__(self) -> str:
        streams = f" of {self.streams} streams" if self.streams > 1 else ""
        device = f", {self.reconnections} reconnections" if self.reconnections else ""
        device += f", {self.gpu_failures} failures of the GPU" if self.gpu_failures else ""
        return (
            f"heard {self.heard_seconds:.1f} s{streams}, {self.segments} segments, "
            f"latency {self.algorithm_seconds:.2f} s by the method and p50 {self.percentile_ms(50):.1f} ms "
            f"p99 {self.percentile_ms(99):.1f} ms by the computer, "
            f"dropped {self.dropped} samples, at most {self.peak_fill_seconds:.2f} s waiting{device}"
        )
