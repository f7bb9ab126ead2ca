"""Who has spoken, and for how long? A whole program around the iterator that `edge-lupi listen` is too.

python runtime/who_speaks.py [SOUND]     # without a file, the default microphone; Ctrl-C ends it
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable

from edge_lupi import Event, Listener, shipped_bundle
from edge_lupi.runtime.sources.open import open_source
from edge_lupi.runtime.sources.source import stop_on_signals


def seconds_by_speaker(events: Iterable[Event]) -> Counter[str]:
    """Seconds per label. Segments overlap: each adds only what the events before it have not covered."""
    spoken, told = Counter[str](), 0.0
    for event in events:
        if event.gap_seconds:
            print(f"{event.gap_seconds:.1f} s were lost before {event.start:.1f} s", file=sys.stderr)
        spoken[event.label] += max(0.0, event.time - max(event.start, told))
        told = event.time
        print(f"{event.time:7.1f} s  {event.label}")
    return spoken


def main() -> None:
    """Listen, then sum up."""
    listener = Listener(shipped_bundle("speaker"), task="speaker")
    with open_source(*(sys.argv[1:] or ["mic"])) as source:
        stop_on_signals(source)
        spoken = seconds_by_speaker(listener.listen(source))
    for label, seconds in spoken.most_common():
        print(f"{label}: {seconds:.1f} s")


if __name__ == "__main__":
    main()
