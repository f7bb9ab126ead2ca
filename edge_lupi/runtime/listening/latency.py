"""Algorithmic latency, whatever the computer: presets, and the seconds that follow from them.

seconds = segment + hop + gate

A voice fills a whole segment at most one hop after it has spoken for a segment's length; the gate lags a little behind.
(A voice that nobody knows gets its number later, see `trackers.speaker`.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_lupi.errors import InputError
from edge_lupi.frames import FRAMES_PER_SECOND, Segmentation

__all__ = ["LATENCIES", "Latency", "latency"]


@dataclass(frozen=True)
class Latency:
    """`hop_share` of the student's hop."""

    hop_share: float = 1.0

    def segmentation(self, own: Segmentation) -> Segmentation:
        """The student's segments at this preset's hop, in whole frames."""
        hop_frames = max(1, round(own.hop_frames * self.hop_share))
        return Segmentation(own.seconds, hop_frames / FRAMES_PER_SECOND)

    def seconds(self, cut: Segmentation, gate_seconds: float) -> float:
        """From a voice's first sound to the event about it at the latest, on a computer that takes no time."""
        return cut.seconds + cut.hop_seconds + gate_seconds


LATENCIES: Mapping[str, Latency] = {"low": Latency(0.5), "normal": Latency()}


def latency(name: str) -> Latency:
    """The preset of that name."""
    if name not in LATENCIES:
        raise InputError(f"expected a latency of {', '.join(LATENCIES)}, got {name!r}")
    return LATENCIES[name]
