"""Subtitles of who speaks, written while listening, for players and video editors: Turns in; SubRip or WebVTT out.

    1
    00:00:00,250 --> 00:00:04,250
    alice

Cues are in the order of their beginnings, as both formats want them: where turns of several streams ended in another
order, the file is put in order at the end. A name from outside can neither end a cue nor open a tag.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from types import TracebackType

from edge_lupi.runtime.outputs.files import TurnFile
from edge_lupi.runtime.outputs.turns import Turn
from edge_lupi.words import printable

__all__ = ["SrtFile", "VttFile"]

NO_TAGS = str.maketrans("<>{}", "‹›()")  # SubRip has no escapes, and players know tags in it


class _Subtitles(TurnFile):
    def __init__(self, path: str | Path, inputs: Sequence[str], task: str) -> None:
        super().__init__(path, inputs, task)
        self._turns: list[Turn] = []

    def turn(self, turn: Turn) -> None:
        """Write it as a cue."""
        super().turn(turn)
        self._turns.append(turn)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        begins = [turn.start_seconds for turn in self._turns if turn.task == self._task]
        if self.is_whole and begins != sorted(begins):
            self.revise(self._turns)

    def _who(self, turn: Turn) -> str:
        name = printable(turn.label)
        return f"{printable(self.names.of(turn.stream))}: {name}" if turn.stream else name


class SrtFile(_Subtitles):
    """SubRip, which every player knows."""

    endings = (".srt",)
    option = "srt"

    def text(self, turn: Turn, number: int) -> str:
        """A cue."""
        times = f"{_clock(turn.start_seconds, ',')} --> {_clock(turn.end_seconds, ',')}"
        return f"{number}\n{times}\n{self._who(turn).translate(NO_TAGS)}\n\n"


class VttFile(_Subtitles):
    """WebVTT, for browsers: the speaker is the cue's voice too, which a style sheet can colour."""

    endings = (".vtt",)
    option = "vtt"
    head = "WEBVTT\n\n"

    def text(self, turn: Turn, number: int) -> str:
        """A cue."""
        times = f"{_clock(turn.start_seconds, '.')} --> {_clock(turn.end_seconds, '.')}"
        voice, who = escape(printable(turn.label), quote=False), escape(self._who(turn), quote=False)
        return f"{times}\n<v {voice}>{who}</v>\n\n"


def _clock(seconds: float, point: str) -> str:
    """Hours, minutes, seconds and thousandths; hours may have more than two digits."""
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{point}{thousandths:03}"
