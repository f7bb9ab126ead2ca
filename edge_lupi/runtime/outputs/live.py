"""The live view in a terminal: a row per stream (who, how sure, how loud, how late, what was lost), ended turns above it.

Rows are drawn again a few times a second, by a thread, so that the view also shows that nothing comes. The cursor is never
hidden and the screen is the terminal's own, so it is left as it was, however the process ends.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderResult
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.text import Text

from edge_lupi.events import Event
from edge_lupi.runtime.listening.statistics import Progress, Statistics
from edge_lupi.runtime.outputs.turns import Output, Turn
from edge_lupi.terminal import make_encodable
from edge_lupi.words import printable

__all__ = ["LiveView", "live_view"]

REDRAWN_PER_SECOND = 5
BAR_CELLS = 8
QUIETEST_DB = -60.0  # an empty level meter; full at 0 dB
SILENT_SECONDS = 1.5  # after so long without an event nobody speaks
MOST_ROWS = 12  # of more streams the others are counted only
LEAST_NAME_CELLS, MOST_STREAM_CELLS = 14, 24
KEEPS_ROWS = ("linux", "rxvt", "screen", "vt")  # terminals that cut rows when they become narrower; others fold them


@dataclass(frozen=True)
class _Part:
    """Something in a row, so wide at least. Where the terminal is narrow, what has the highest `rank` goes first."""

    text: str
    rank: int
    style: str = ""
    cells: int = 0

    @property
    def padded(self) -> str:
        """The text, filled up to its width."""
        return self.text + " " * (self.cells - cell_len(self.text))


class _Live(Live):
    """Erases rows that the terminal itself has folded into several, as it became narrower; else they stay as ghosts."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """What is printed next, behind what takes back the last rows."""
        view = self.get_renderable()
        folded = view.folded() if isinstance(view, LiveView) else 0
        reset, *others = super().process_renderables(renderables)
        up = ((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)) * folded
        return [reset, Control(*up), *others]


class LiveView(Output):
    """Shows events on a console, in a row those of all `tasks`. `statistics` gives the listener's, which also go on in silence."""

    def __init__(self, console: Console, statistics: Callable[[], Statistics], tasks: Sequence[str] = ()) -> None:
        self._console = console
        self._order = {task: place for place, task in enumerate(tasks)}
        self._statistics = statistics
        self._events: dict[str, dict[str, Event]] = {}  # the last one, by stream and task
        self._name_cells = dict.fromkeys(tasks, LEAST_NAME_CELLS)  # of the longest name yet
        self._drawn: list[int] = []  # the cells of each row as it was drawn last
        self._live = _Live(
            self,
            console=console,
            refresh_per_second=REDRAWN_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=sys.stderr.isatty(),
            vertical_overflow="crop",
        )

    def __enter__(self) -> LiveView:
        self._live.start()
        self._console.show_cursor(True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def event(self, event: Event) -> None:
        """Show it in its stream's row."""
        stream = event.stream or ""
        longest = max(self._name_cells.get(event.task, LEAST_NAME_CELLS), cell_len(printable(event.label)))
        self._name_cells = {**self._name_cells, event.task: longest}
        self._events[stream] = {
            **self._events.get(stream, {}),
            event.task: event,
        }  # the thread reads the one or the other

    def turn(self, turn: Turn) -> None:
        """Print it above the rows."""
        self._console.print(Text(str(turn)), soft_wrap=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The rows, each in one line of the terminal."""
        rows = self._rows(options)
        self._drawn = [row.cell_len for row in rows]
        yield from rows

    def folded(self) -> int:
        """How many rows more than were drawn last the terminal shows, now that it is narrower."""
        width = self._console.width
        return sum(max(0, -(-cells // width) - 1) for cells in self._drawn) if _folds_rows() else 0

    def _rows(self, options: ConsoleOptions) -> list[Text]:
        statistics = self._statistics()
        streams = list(statistics.by_stream.items()) or [("", Progress())]
        stream_cells = min(MOST_STREAM_CELLS, max(cell_len(printable(name)) for name, _ in streams))
        rows = []
        for name, progress in streams[:MOST_ROWS]:
            last = sorted(self._events.get(name, {}).values(), key=lambda event: self._order.get(event.task, 0))
            events = [event for event in last if progress.seconds - event.time < SILENT_SECONDS]
            parts = _parts(events, progress, statistics, self._name_cells, ascii_only=options.ascii_only)
            stream = [_Part(_end(printable(name)), 2, "dim", stream_cells)] if len(streams) > 1 else []
            rows.append(_fitted([*stream, *parts], options.max_width))
        if len(streams) > MOST_ROWS:
            rows.append(_fitted([_Part(f"and {len(streams) - MOST_ROWS} more streams", 0)], options.max_width))
        return rows


def live_view(
    statistics: Callable[[], Statistics], console: Console | None = None, *, tasks: Sequence[str] = ()
) -> LiveView | None:
    """The view on standard output; None where that is no terminal on which lines can be drawn again."""
    console = console or Console(highlight=False)
    make_encodable(console.file)
    live = console.file.isatty() and not console.is_dumb_terminal
    return LiveView(console, statistics, tasks) if live else None


def _parts(
    events: Sequence[Event],
    progress: Progress,
    statistics: Statistics,
    name_cells: Mapping[str, int],
    *,
    ascii_only: bool,
) -> list[_Part]:
    """Who and how sure, how loud, how late, what was lost."""
    parts = []
    for event in events:
        figure = (event.score if event.score is not None else event.probability) or 0.0
        parts.append(_Part(printable(event.label), 0, "bold", name_cells[event.task]))
        parts.append(_Part(_bar(figure, ascii_only), 4, "green"))
        parts.append(_Part(f"{figure:4.2f}", 1))
    if not parts:
        parts = [
            _Part("-", 0, "dim", max(name_cells.values(), default=LEAST_NAME_CELLS)),
            _Part(" " * BAR_CELLS, 4),
            _Part(" " * 4, 1),
        ]
    computer_ms = statistics.compute_ms[-1] if statistics.compute_ms else 0.0
    return [
        *parts,
        _Part(_bar(1 - max(progress.level_db, QUIETEST_DB) / QUIETEST_DB, ascii_only), 5, "cyan"),
        _Part(f"{max(progress.level_db, -99):3.0f} dB", 2),
        _Part(f"{statistics.algorithm_seconds:.2f} s + {computer_ms:.0f} ms", 6),
        _Part(f"dropped {progress.dropped}", 3, "red" if progress.dropped else ""),
    ]


def _fitted(parts: Sequence[_Part], width: int) -> Text:
    """As many parts in one line as the width holds; names whole, as long as that is possible at all."""
    fitting = list(parts)
    while len(fitting) > 1 and sum(cell_len(part.padded) + 2 for part in fitting) - 2 > width:
        last = max(fitting, key=lambda part: part.rank)
        if last.rank == 0:
            fitting = [replace(part, cells=0) for part in fitting]
            break
        fitting.remove(last)
    line = Text("  ", no_wrap=True).join([Text(part.padded, part.style) for part in fitting])
    line.truncate(width)
    return line


def _end(name: str) -> str:
    """Of a long name the end, by which files differ."""
    return name if cell_len(name) <= MOST_STREAM_CELLS else f"...{name[-(MOST_STREAM_CELLS - 3) :]}"


def _folds_rows() -> bool:
    """Whether a row that is too wide after a change of width is folded, as VTE, kitty, Konsole and tmux do, or cut."""
    if "TMUX" in os.environ:
        return True
    return "XTERM_VERSION" not in os.environ and not os.environ.get("TERM", "").startswith(KEEPS_ROWS)


def _bar(share: float, ascii_only: bool) -> str:
    full = round(min(max(share, 0.0), 1.0) * BAR_CELLS)
    return "#" * full + "." * (BAR_CELLS - full) if ascii_only else "━" * full + "╌" * (BAR_CELLS - full)
