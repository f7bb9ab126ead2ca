"""A listener's events as the state of a home: an Output that keeps who speaks now, and hands every change to a broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from edge_lupi.events import Event
from edge_lupi.home.mqtt.discovery import NOBODY, PRESENCE, discovery
from edge_lupi.home.mqtt.identity import OFFLINE, ONLINE, ListenerName, StreamTopics
from edge_lupi.runtime.outputs.turns import Output
from edge_lupi.runtime.trackers.tracker import UNKNOWN
from edge_lupi.task import Task
from edge_lupi.words import json_text

__all__ = ["MqttOutput"]

QUIET_SECONDS = 3.0  # of sound without an event: nobody speaks any more; trackers hold back less
SILENT_SECONDS = 10.0  # without any sound: the microphone is gone
SOMEBODY = "somebody"  # what an unknown voice is called: Home Assistant keeps "unknown" for what it was never told


@dataclass
class _Stream:
    """What is true of one stream now. `heard_seconds` is when the last block of it came, by `time.monotonic()`."""

    topics: StreamTopics
    labels: dict[str, str]
    heard_seconds: float
    spoke_seconds: float = 0.0  # where the last event ends, in the stream's own time
    told: str = field(default="", repr=False)
    is_there: bool = False


class MqttOutput(Output):
    """Puts discovery, state and availability of every stream by `put(topic, payload)`, which must not wait; for the thread that listens.

    `look` is for any other thread, now and then: it finds microphones that have fallen silent.
    """

    def __init__(self, name: ListenerName, tasks: Sequence[Task], put: Callable[[str, str], None]) -> None:
        self._name, self._tasks, self._put = name, tasks, put
        self._streams: dict[str, _Stream] = {}

    def event(self, event: Event) -> None:
        """Somebody speaks."""
        stream = self._stream(event.stream or "")
        stream.labels[event.task] = SOMEBODY if event.label == UNKNOWN else event.label
        stream.spoke_seconds = max(stream.spoke_seconds, event.time)
        self._tell(stream, is_speech=True)

    def passed(self, stream: str, seconds: float) -> None:
        """A stream has come so far: the moment to see that nobody speaks any more."""
        here = self._stream(stream)
        here.heard_seconds = time.monotonic()
        if not here.is_there:
            here.is_there = True
            self._put(here.topics.availability, ONLINE)
        if here.spoke_seconds and seconds - here.spoke_seconds > QUIET_SECONDS:
            self._quiet(here)

    def look(self) -> None:
        """Say of each stream from which no sound comes that it is not there, and that nobody is known to speak: the broker
        keeps what it was told last, however long the microphone is away."""
        for stream in list(self._streams.values()):
            if stream.is_there and time.monotonic() - stream.heard_seconds > SILENT_SECONDS:
                stream.is_there = False  # with the next block it is there again
                self._quiet(stream)
                self._put(stream.topics.availability, OFFLINE)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in self._streams.values():
            self._quiet(stream)

    def _stream(self, name: str) -> _Stream:
        if name not in self._streams:
            topics = self._name.stream(name)
            self._streams[name] = stream = _Stream(topics, {}, time.monotonic())
            self._put(topics.discovery, json_text(discovery(topics, self._name.availability, self._tasks)))
            self._quiet(stream)
        return self._streams[name]

    def _quiet(self, stream: _Stream) -> None:
        stream.labels, stream.spoke_seconds = {task.name: NOBODY for task in self._tasks}, 0.0
        self._tell(stream, is_speech=False)

    def _tell(self, stream: _Stream, *, is_speech: bool) -> None:
        state = json_text({PRESENCE: "ON" if is_speech else "OFF", **stream.labels})
        if state != stream.told:
            stream.told = state
            self._put(stream.topics.state, state)
