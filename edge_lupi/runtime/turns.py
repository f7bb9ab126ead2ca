"""What people read: events of one label joined into turns, a line each, and on a terminal a live line below them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from io import TextIOWrapper
from typing import TextIO

from edge_lupi.events import Event
from edge_lupi.frames import Segmentation

__all__ = ["Turn", "TurnJoiner", "show"]


@dataclass(frozen=True)
class Turn:
    """One label without a pause. `figure` is the last event's score or probability: that with the most evidence."""

    start_seconds: float
    end_seconds: float
    label: str
    figure_name: str
    figure: float

    def __str__(self) -> str:
        return f"{self.start_seconds:7.2f} – {self.end_seconds:7.2f} s  {self.label:<12} {self.figure_name} {self.figure:.2f}"


class TurnJoiner:
    """Joins events. Segments overlap, so each counts for its middle, one hop long, and neighbours meet without overlap."""

    def __init__(self, segmentation: Segmentation) -> None:
        self._trim_seconds = (segmentation.seconds - segmentation.hop_seconds) / 2
        self.current: Turn | None = None

    def push(self, event: Event) -> Turn | None:
        """Take the next event; gives the turn that ends with it, if one does."""
        name, figure = ("score", event.score) if event.score is not None else ("probability", event.probability)
        start, end = event.start + self._trim_seconds, event.time - self._trim_seconds
        before = self.current
        goes_on = (
            before is not None and before.label == event.label and start <= before.end_seconds + self._trim_seconds
        )
        if before and goes_on:
            start = before.start_seconds
        self.current = Turn(start, end, event.label, name, figure or 0.0)
        return None if goes_on else before

    def finish(self) -> Turn | None:
        """The last turn."""
        last, self.current = self.current, None
        return last


def show(events: Iterable[Event], segmentation: Segmentation, out: TextIO) -> None:
    """Print finished turns to `out` as they come, and the current one below them where that is a terminal."""
    if isinstance(out, TextIOWrapper):
        out.reconfigure(errors="replace")  # a terminal that knows ASCII only still gets its lines
    joiner, live = TurnJoiner(segmentation), out.isatty()
    for event in events:
        turn = joiner.push(event)
        if turn:
            _print_line(turn, out, live)
        if live:
            out.write(f"\r\x1b[K{joiner.current} …")
            out.flush()
    last = joiner.finish()
    if last:
        _print_line(last, out, live)


def _print_line(turn: Turn, out: TextIO, live: bool) -> None:
    out.write(f"\r\x1b[K{turn}\n" if live else f"{turn}\n")
    out.flush()
