"""RTTM file, written while listening: Turns in, a line each as they end."""

from __future__ import annotations

from edge_lupi.rttm import Stretch, rttm_line
from edge_lupi.runtime.outputs.files import TurnFile
from edge_lupi.runtime.outputs.turns import Turn

__all__ = ["RttmFile"]


class RttmFile(TurnFile):
    """Who speaks when, for the field's tools. The file that a line names is the input that a stream comes from."""

    endings = (".rttm",)
    option = "rttm"

    def text(self, turn: Turn, number: int) -> str:
        """A line."""
        stretch = Stretch(turn.start_seconds, turn.end_seconds, turn.label)
        return rttm_line(stretch, self.names.of(turn.stream)) + "\n"
