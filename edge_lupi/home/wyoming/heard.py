"""Who spoke an utterance: 16-bit PCM of any rate in, piece by piece; Spoken out. Not for two threads at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_lupi.events import Event
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.trackers.tracker import UNKNOWN
from edge_lupi.sound.resampler import Resampler

__all__ = ["Heard", "Spoken"]

SAMPLE_BYTES = 2


@dataclass(frozen=True)
class Spoken:
    """What is known of an utterance: the last event of each task, about all of it; none where nobody spoke. `person` is enrolled."""

    seconds: float = 0.0
    person: str | None = None
    events: Mapping[str, Event] = field(default_factory=dict)

    def fields(self) -> dict[str, object]:
        """By task as JSON's types: the label, null for an unknown voice, and its figures."""
        found = dict[str, object]()
        for task, event in self.events.items():
            found[task] = None if event.label == UNKNOWN else event.label
            figures = {"score": event.score, "threshold": event.threshold, "probability": event.probability}
            found |= {f"{task}_{name}": round(value, 4) for name, value in figures.items() if value is not None}
        return found


class Heard:
    """One utterance while it is heard. After `end` nothing more is taken."""

    def __init__(self, listener: Listener, rate_hz: int, channels: int) -> None:
        self._comparing = {task.name for task in listener.tasks if task.verifies}
        self._listening = listener.begin(one_voice=True)
        self._resampler = Resampler(rate_hz, channels)
        self._frame_bytes = SAMPLE_BYTES * channels
        self._rest = b""
        self._events = dict[str, Event]()
        self._samples = 0
        self._spoken: Spoken | None = None

    def hear(self, pcm: bytes) -> None:
        """The next piece, of any length."""
        if self._spoken is not None:
            return
        pcm = self._rest + pcm
        whole = len(pcm) - len(pcm) % self._frame_bytes
        self._rest = pcm[whole:]
        frames = np.frombuffer(pcm[:whole], "<i2").reshape(-1, self._frame_bytes // SAMPLE_BYTES)
        self._push(self._resampler.push(frames.astype(np.float32) / np.float32(32768)))

    def end(self) -> Spoken:
        """Who it was. The same again where it is asked again."""
        if self._spoken is None:
            self._push(self._resampler.flush())
            self._keep(self._listening.finish())
            people = (event.label for name, event in self._events.items() if name in self._comparing)
            person = next((name for name in people if name != UNKNOWN), None)
            self._spoken = Spoken(round(self._samples / 16_000, 2), person, self._events)
        return self._spoken

    def _push(self, samples: NDArray[np.float32]) -> None:
        if len(samples):
            self._samples += len(samples)
            self._keep(self._listening.push(Block(samples)))

    def _keep(self, events: list[Event]) -> None:
        self._events |= {event.task: event for event in events}
