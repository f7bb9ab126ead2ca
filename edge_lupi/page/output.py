"""A listener's events and figures for pages: an Output that fills a history, and does what pages ask between two blocks."""

from __future__ import annotations

import time
from typing import Any

from edge_lupi.events import Event
from edge_lupi.page.between import Between
from edge_lupi.page.history import History
from edge_lupi.runtime.listening.statistics import Statistics
from edge_lupi.runtime.outputs.turns import Output

__all__ = ["PageOutput", "figures"]

QUIET_SECONDS = 2.0  # after so long without any sound from it a microphone may be lost
LOWEST_DB = -120.0  # what is shown of digital silence
SHOWN_STREAMS = 16
SHOWN_NOTICES = 5


class PageOutput(Output):
    """What pages show of one run. Written by the thread that listens, read by the server's."""

    def __init__(self) -> None:
        self.history = History()
        self.between = Between()
        self.last_block_seconds = time.monotonic()
        self.has_ended = False

    def event(self, event: Event) -> None:
        """Keep it for whoever looks."""
        self.history.add(event.to_json())

    def passed(self, stream: str, seconds: float) -> None:
        """A stream has come so far: the moment for what pages have asked."""
        self.last_block_seconds = time.monotonic()
        self.between.run()


def figures(output: PageOutput, statistics: Statistics) -> dict[str, Any]:
    """The state of a run as JSON's types: its clocks and levels, latency in two parts, what was lost."""
    streams = list(statistics.by_stream.items())
    shown = {
        name: {
            "seconds": round(progress.seconds, 3),
            "level_db": round(max(float(progress.level_db), LOWEST_DB), 1),
            "dropped": progress.dropped,
        }
        for name, progress in streams[:SHOWN_STREAMS]
    }
    silent_seconds = time.monotonic() - output.last_block_seconds
    return {
        "streams": shown,
        "hidden_streams": max(0, len(streams) - SHOWN_STREAMS),
        "algorithm_seconds": round(statistics.algorithm_seconds, 3),
        "computer_ms": round(statistics.percentile_ms(50), 2),
        "computer_p99_ms": round(statistics.percentile_ms(99), 2),
        "dropped": statistics.dropped,
        "waited_seconds": round(statistics.peak_fill_seconds, 2),
        "reconnections": statistics.reconnections,
        "notices": statistics.notices[-SHOWN_NOTICES:],
        "silent_seconds": round(silent_seconds, 1) if silent_seconds > QUIET_SECONDS else 0.0,
        "ended": output.has_ended,
    }
