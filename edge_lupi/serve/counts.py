"""What a service has done so far, over all its streams: Events and ended streams in; Prometheus' text format out.

https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4)
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from edge_lupi.events import Event
from edge_lupi.serve.stream import Served

__all__ = ["CONTENT_TYPE", "Counts"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LATENCY_BOUNDS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
Labels = tuple[tuple[str, str], ...]
Sample = tuple[str, Labels, float]  # what follows the family's name, labels, value


@dataclass
class Counts:
    """Written by the listener's thread alone, but for `refused`; read by any."""

    streams: int = 0
    dropped: int = 0
    dropped_here: int = 0
    waited_seconds: float = 0.0
    missed: int = 0
    refused: int = 0
    events: Counter[str] = field(default_factory=Counter)
    latencies: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_SECONDS) + 1))
    latency_seconds: float = 0.0

    def event(self, event: Event) -> None:
        """One more event."""
        seconds = event.latency_ms / 1000
        self.events[event.task] += 1
        self.latency_seconds += seconds
        self.latencies[sum(seconds > bound for bound in LATENCY_BOUNDS_SECONDS)] += 1

    def ended(self, stream: Served) -> None:
        """A stream is over: its own counts go on here."""
        for name in ("dropped", "dropped_here", "waited_seconds", "missed"):
            setattr(self, name, getattr(self, name) + getattr(stream, name))

    def text(self, running: Iterable[Served], totals: Mapping[str, float]) -> str:
        """The page of a scrape. `totals` are the listener's: seconds, segments, encoded, people."""
        now = list(running)
        lines = list[str]()
        for name, kind, words, samples in [
            *self._of_streams(now),
            *_of_listener(totals),
            ("latency_seconds", "histogram", "From the last sample of a segment to its event.", self._buckets()),
        ]:
            lines += [f"# HELP edge_lupi_{name} {words}", f"# TYPE edge_lupi_{name} {kind}"]
            lines += [f"edge_lupi_{name}{ending}{_labels(labels)} {value:.10g}" for ending, labels, value in samples]
        return "\n".join([*lines, *_process(), ""])

    def _of_streams(self, now: list[Served]) -> list[tuple[str, str, str, list[Sample]]]:
        def summed(name: str) -> list[Sample]:
            return _one(getattr(self, name) + sum(getattr(stream, name) for stream in now))

        events: list[Sample] = [("", (("task", task),), count) for task, count in sorted(self.events.items())]
        waiting = max((stream.fill_seconds for stream in now), default=0.0)
        return [
            ("open_streams", "gauge", "Streams that are open.", _one(len(now))),
            ("streams_total", "counter", "Streams that were opened.", _one(self.streams)),
            ("refused_total", "counter", "Streams that were refused, as too many were open.", _one(self.refused)),
            ("dropped_samples_total", "counter", "Lost samples at 16 kHz, here or by clients.", summed("dropped")),
            ("queue_dropped_samples_total", "counter", "Those lost here: the queue was full.", summed("dropped_here")),
            ("waited_seconds_total", "counter", "Seconds that clients were made to wait.", summed("waited_seconds")),
            ("missed_lines_total", "counter", "Lines that clients did not read in time.", summed("missed")),
            ("waiting_seconds", "gauge", "Sound that waits, of the stream with the most.", _one(waiting)),
            ("events_total", "counter", "Events, by task.", events),
        ]

    def _buckets(self) -> list[Sample]:
        samples, so_far = list[Sample](), 0
        for bound, count in zip([*map(str, LATENCY_BOUNDS_SECONDS), "+Inf"], self.latencies, strict=True):
            so_far += count
            samples.append(("_bucket", (("le", bound),), so_far))
        return [*samples, ("_sum", (), self.latency_seconds), ("_count", (), so_far)]


def _of_listener(totals: Mapping[str, float]) -> list[tuple[str, str, str, list[Sample]]]:
    return [
        ("heard_seconds_total", "counter", "Sound that was heard, of all streams.", _one(totals["seconds"])),
        ("segments_total", "counter", "Segments of it.", _one(totals["segments"])),
        ("encoded_total", "counter", "Those in which somebody spoke.", _one(totals["encoded"])),
        ("batches_total", "counter", "Rounds in which they were encoded together.", _one(totals["batches"])),
        ("people", "gauge", "People who are known.", _one(totals["people"])),
    ]


def _process() -> list[str]:
    """As client libraries name it; seconds of all threads."""
    return [
        "# HELP process_cpu_seconds_total Total user and system CPU time spent in seconds.",
        "# TYPE process_cpu_seconds_total counter",
        f"process_cpu_seconds_total {time.process_time():.3f}",
    ]


def _one(value: float) -> list[Sample]:
    return [("", (), float(value))]


def _labels(labels: Labels) -> str:
    return "{" + ",".join(f'{key}="{value}"' for key, value in labels) + "}" if labels else ""
