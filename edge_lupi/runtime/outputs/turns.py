"""Speaker turns from events: one label without a pause, per stream and task. Events in; Turns to outputs as they end.

with Teller(listener.segmentations, [Lines(sys.stdout)]) as teller:
    for event in listener.listen(source, passed=teller.passed):
        teller.event(event)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TextIO

from edge_lupi.events import Event
from edge_lupi.frames import Segmentation
from edge_lupi.terminal import make_encodable, write_line
from edge_lupi.words import printable

__all__ = ["EventsAlone", "JsonLines", "Lines", "Output", "Teller", "Turn", "Turns"]

QUIET_SEGMENTS = 3  # a turn of which nothing was heard for so long does not go on; trackers hold back less


@dataclass(frozen=True)
class Turn:
    """One label without a pause. `figure` is the last event's score or probability: that with the most evidence."""

    start_seconds: float
    end_seconds: float
    label: str
    figure_name: str
    figure: float
    task: str = ""
    stream: str = ""

    def __str__(self) -> str:
        stream = f"{printable(self.stream):<12} " if self.stream else ""
        times = f"{self.start_seconds:7.2f} – {self.end_seconds:7.2f} s"
        return f"{stream}{times}  {printable(self.label):<12} {self.figure_name} {self.figure:.2f}"


class Turns:
    """Joins events. Segments overlap, so each counts for its middle, one hop long, and neighbours meet without overlap.

    `segmentation`: of all tasks, or each one's by its name.
    """

    def __init__(self, segmentation: Segmentation | Mapping[str, Segmentation]) -> None:
        self._segmentation = segmentation
        self._current: dict[tuple[str, str], Turn] = {}

    def push(self, event: Event) -> list[Turn]:
        """Take the next event; gives the turn that ends with it, if one does."""
        key = (event.stream or "", event.task)
        name, figure = ("score", event.score) if event.score is not None else ("probability", event.probability)
        cut = self._cut(event.task)
        margin_seconds = (cut.seconds - cut.hop_seconds) / 2
        trim_seconds = max(0.0, min(margin_seconds, (event.time - event.start - cut.hop_seconds) / 2))
        start, end = event.start + trim_seconds, event.time - trim_seconds
        before = self._current.get(key)
        goes_on = before and before.label == event.label and start <= before.end_seconds + margin_seconds
        if before and goes_on:
            start = before.start_seconds
        self._current[key] = Turn(start, end, event.label, name, figure or 0.0, event.task, key[0])
        return [] if before is None or goes_on else [before]

    def passed(self, stream: str, seconds: float) -> list[Turn]:
        """A stream has come so far; gives its turns that have been over for long."""
        over = [key for key, turn in self._current.items() if key[0] == stream and self._is_over(turn, seconds)]
        return [self._current.pop(key) for key in over]

    def finish(self) -> list[Turn]:
        """The last turns."""
        last, self._current = list(self._current.values()), {}
        return last

    def _is_over(self, turn: Turn, seconds: float) -> bool:
        return seconds - turn.end_seconds > QUIET_SEGMENTS * self._cut(turn.task).seconds

    def _cut(self, task: str) -> Segmentation:
        return self._segmentation if isinstance(self._segmentation, Segmentation) else self._segmentation[task]


class Output:
    """Something that events and turns are written to, from entering to leaving; each kind takes what it needs."""

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of whatever is open."""

    def event(self, event: Event) -> None:
        """The next event."""

    def turn(self, turn: Turn) -> None:
        """A turn that has ended."""

    def passed(self, stream: str, seconds: float) -> None:
        """A stream has come so far."""


class EventsAlone(Output):
    """Another output that is told no turns: they will be revised."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def __enter__(self) -> Output:
        self._output.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._output.__exit__(kind, error, trace)

    def event(self, event: Event) -> None:
        """Hand it on."""
        self._output.event(event)

    def passed(self, stream: str, seconds: float) -> None:
        """Hand it on."""
        self._output.passed(stream, seconds)


class Lines(Output):
    """A line for each turn that has ended."""

    def __init__(self, out: TextIO) -> None:
        make_encodable(out)  # a terminal that knows ASCII only still gets its lines
        self._out = out

    def turn(self, turn: Turn) -> None:
        """Print it."""
        write_line(self._out, str(turn))


class JsonLines(Output):
    """A line of JSON for each event."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def event(self, event: Event) -> None:
        """Print it."""
        write_line(self._out, event.to_json())


class Teller:
    """Gives outputs the events and the turns they make; at its end, however that comes, the last turns too."""

    def __init__(self, segmentation: Segmentation | Mapping[str, Segmentation], outputs: Sequence[Output]) -> None:
        self._turns = Turns(segmentation)
        self._outputs = outputs

    def __enter__(self) -> Teller:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        last = self._turns.finish()
        for output in self._outputs:
            for turn in last:
                output.turn(turn)

    def event(self, event: Event) -> None:
        """The next event."""
        self._tell(self._turns.push(event))
        for output in self._outputs:
            output.event(event)

    def passed(self, stream: str, seconds: float) -> None:
        """A stream has come so far."""
        self._tell(self._turns.passed(stream, seconds))
        for output in self._outputs:
            output.passed(stream, seconds)

    def _tell(self, turns: Sequence[Turn]) -> None:
        for output in self._outputs:
            for turn in turns:
                output.turn(turn)
