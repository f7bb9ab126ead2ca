"""Events as a file, written while listening: a line of JSON each, as `--json` prints them, beside any other output."""

from __future__ import annotations

from edge_lupi.events import Event
from edge_lupi.runtime.outputs.files import WrittenFile

__all__ = ["EventFile"]


class EventFile(WrittenFile):
    """Every event of every task and stream, as it was said live."""

    endings = (".jsonl", ".ndjson")
    option = "events"

    def event(self, event: Event) -> None:
        """Write it."""
        self._write(event.to_json() + "\n")
