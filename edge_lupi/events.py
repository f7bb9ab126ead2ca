"""What the listener says: one Event per segment in which somebody speaks, and its line of JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import isfinite

from edge_lupi.words import json_text

__all__ = ["Event"]


@dataclass(frozen=True)
class Event:
    """One statement about the stream. Times are seconds since the stream began.

    `time` is the end of the segment and `start` its beginning. Verification tasks (speaker) fill `score` (cosine)
    and `threshold`; classification tasks (emotion) fill `probability`. `latency_ms` runs from the moment the last
    sample of the segment was handed over to the moment this event was ready. `dropped` counts lost samples so far;
    `gap_seconds` says how much sound was lost between the event before and this one, if any was. `stream` names the
    stream where there are several; times and counts are then that stream's own.
    """

    time: float
    start: float
    task: str
    label: str
    score: float | None = None
    threshold: float | None = None
    probability: float | None = None
    latency_ms: float = 0.0
    dropped: int = 0
    gap_seconds: float | None = None
    stream: str | None = None

    def to_json(self) -> str:
        """The event as one line of JSON, in ASCII; absent figures are left out, and those that are no numbers."""
        fields = {name: _rounded(value) for name, value in asdict(self).items()}
        return json_text({name: value for name, value in fields.items() if value is not None})


def _rounded(value: object) -> object:
    if not isinstance(value, float):
        return value
    return round(value, 4) if isfinite(value) else None
