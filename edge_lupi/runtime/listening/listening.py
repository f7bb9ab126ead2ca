"""One run of a listener: Blocks of sound in, Events out. All that a run remembers lies here, so runs do not disturb each other.

    listening = Listener(shipped_bundle("speaker")).begin()
    for event in listening.push(Block(samples)): ...    # samples float32 [n] at 16 kHz, any n, from anywhere
    for event in listening.finish(): ...

Every stream has its own segments and its own memory of who spoke. What is ready at the same moment, of one stream or of
many, goes through the gate, the encoder and the aggregators as one batch each:

    Block ─► windows ┬─► gate ─► segments ─► encoder ─► aggregator ─► trackers ─► Events
    of other streams ┘
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from edge_lupi.errors import InputError
from edge_lupi.events import Event
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.runtime.band import NARROW
from edge_lupi.runtime.gates.gate import Gate
from edge_lupi.runtime.gates.make import make_gate
from edge_lupi.runtime.listening.decide import Decided, Embedding, Ready, decide, in_waves
from edge_lupi.runtime.listening.ears import Ear
from edge_lupi.runtime.listening.statistics import Statistics
from edge_lupi.runtime.listening.stream import Stream
from edge_lupi.runtime.segments import Segment, Segmenter, segments_of
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.sources.source import say
from edge_lupi.runtime.trackers.tracker import Stranger, Tracker
from edge_lupi.runtime.windows import Window
from edge_lupi.sound.audio import LOUDEST

__all__ = ["Listening"]


@dataclass(frozen=True, eq=False)
class _Due:
    """A window of sound that waits to be heard, and when its last block came and was taken."""

    stream: Stream
    window: Window
    received_seconds: float
    taken_seconds: float


class Listening:
    """A run: `push` blocks as they come, then `finish`. `Listener.begin` makes one.

    `trackers` makes the trackers of one stream, by the tasks of `ears`; `gate` makes its speech gate. `notify` is given
    sentences about the sound that somebody should know while it goes on.
    """

    def __init__(
        self,
        ears: Sequence[Ear],
        trackers: Callable[[], Mapping[str, Tracker]],
        *,
        gate: Callable[[], Gate] = make_gate,
        algorithm_seconds: float = 0.0,
        notify: Callable[[str], None] = say,
    ) -> None:
        self.statistics = Statistics(algorithm_seconds)
        self._ears = ears
        self._trackers = trackers
        self._gate = gate
        self._notify = notify
        self._streams: dict[str, Stream] = {}
        self._due: list[_Due] = []
        self._received_seconds = time.perf_counter()
        self._earlier_failures = len(self._gpu_failures())
        self._is_over = False
        self._encoded: Callable[[str, Segment, Embedding], None] | None = None

    def push(self, block: Block) -> list[Event]:
        """The events that are ready with this block. Raises InputError where it is no sound, or the run is over."""
        if self._is_over:
            raise InputError("expected no sound after finish(), got some: begin another run")
        _check(block.samples)
        taken_seconds = time.perf_counter()
        stream = self._stream(block.stream)
        windows = stream.take(block)
        self.statistics.count_block(block, stream.seconds)
        self._received_seconds = block.received_seconds
        if windows:
            self._wait(stream, windows, taken_seconds)
        if not self._due or (block.more and len(self._due) < self._max_batch):
            return []
        return self._answer()

    def finish(self) -> list[Event]:
        """The end of all streams: the events about what was held back until now."""
        taken_seconds, self._is_over = time.perf_counter(), True
        for stream in self._streams.values():
            self._wait(stream, stream.segmenter.last_windows(), taken_seconds)
        events = self._answer()
        for stream in self._streams.values():
            events += stream.events(stream.last_decisions(), self._received_seconds)
        return events

    def end(self, name: str) -> list[Event]:
        """The end of one stream, while others go on: the events about what was held back of it, which is then forgotten.

        None where no sound of it came. A stream that has the name later begins anew.
        """
        taken_seconds, stream = time.perf_counter(), self._streams.pop(name, None)
        if stream is None:
            return []
        self._wait(stream, stream.segmenter.last_windows(), taken_seconds)
        events = self._answer() + stream.events(stream.last_decisions(), self._received_seconds)
        self.statistics.by_stream.pop(name, None)
        return events

    def listen(
        self,
        source: Iterable[Block],
        *,
        passed: Callable[[str, float], None] | None = None,
        encoded: Callable[[str, Segment, Embedding], None] | None = None,
    ) -> Iterator[Event]:
        """Push all blocks of a source, then finish. `passed` is given, also in silence, how far each stream has come, in seconds.

        `encoded` is given each segment in which somebody speaks, with its stream's name and its embedding [1, D].
        """
        self._encoded = encoded
        for block in source:
            yield from self.push(block)
            if passed:
                passed(block.stream, self._streams[block.stream].seconds)
        yield from self.finish()

    def stranger(self, label: str, stream: str = "") -> Stranger | None:
        """What is remembered of a voice with a number, as `speaker 2` of a stream; None where nothing is."""
        known = self._streams.get(stream)
        return known.stranger(label) if known else None

    def renamed(self, label: str, name: str, stream: str | None = None) -> None:
        """Somebody is called by another name from the next block on, in one stream or in all; by `UNKNOWN`: is forgotten."""
        for known in self._streams.values():
            if stream in (None, known.name):
                known.renamed(label, name)

    @property
    def _max_batch(self) -> int:
        return min(ear.student.max_batch for ear in self._ears)  # another one, once the CPU goes on for a GPU

    def _stream(self, name: str) -> Stream:
        """The stream of this name; begun where it is new."""
        if name not in self._streams:
            first, *others = [(ear.log_mel, ear.segmentation) for ear in self._ears]
            self._streams[name] = Stream(name, Segmenter(*first, self._gate(), beside=others), self._trackers())
            self.statistics.streams += 1
        return self._streams[name]

    def _wait(self, stream: Stream, windows: list[Window], taken_seconds: float) -> None:
        self._due += [_Due(stream, window, self._received_seconds, taken_seconds) for window in windows]

    def _answer(self) -> list[Event]:
        """Hear what is due and encode it, in batches, and let each stream decide, moment by moment."""
        ready, events = self._hear(), list[Event]()
        while ready:
            most = self._max_batch
            batch, ready = ready[:most], ready[most:]
            embeddings = self._encode(batch)
            decided = decide(self._ears, batch, embeddings)
            self._hand_on(batch, embeddings)
            self._count(batch)
            events += _events(batch, decided)
        return events

    def _hear(self) -> list[Ready]:
        """The segments that end with what is due, of so many streams at once; each stream's in their order."""
        due, self._due, ready = self._due, [], list[Ready]()
        most = self._max_batch
        for wave in in_waves([item.stream.name for item in due]):
            for first in range(0, len(wave), most):
                batch = [due[place] for place in wave[first : first + most]]
                each = segments_of([(item.stream.segmenter, item.window) for item in batch])
                for item, segments in zip(batch, each, strict=True):
                    ready += [Ready(item.stream, own, item.received_seconds, item.taken_seconds) for own in segments]
        for one in ready:
            self.statistics.count_level(one.stream.name, one.segment.level_db)
        return ready

    def _encode(self, batch: Sequence[Ready]) -> list[Embedding | None]:
        """An embedding [1, D] for each; None where hardly anybody speaks."""
        embeddings: list[Embedding | None] = [None] * len(batch)
        for number, ear in enumerate(self._ears):
            own = [place for place, item in enumerate(batch) if item.is_speech and item.segment.cut == number]
            if own:
                segments = [batch[place].segment for place in own]
                encoded = ear.encode(_batch([one.log_mel for one in segments]), [one.level_db for one in segments])
                for row, place in enumerate(own):
                    embeddings[place] = encoded[row : row + 1]
        return embeddings

    def _hand_on(self, batch: Sequence[Ready], embeddings: Sequence[Embedding | None]) -> None:
        """To whoever asked what was encoded."""
        for item, embedding in zip(batch, embeddings, strict=True):
            if self._encoded and embedding is not None:
                self._encoded(item.stream.name, item.segment, embedding)

    def _count(self, batch: Sequence[Ready]) -> None:
        """What this batch cost, and what there is to say about it."""
        now_seconds = time.perf_counter()
        self.statistics.segments += len(batch)
        self.statistics.encoded += sum(item.is_speech for item in batch)
        self.statistics.compute_ms.extend((now_seconds - item.taken_seconds) * 1000 for item in batch)
        failures = self._gpu_failures()[self._earlier_failures :]
        self._earlier_failures += len(failures)
        self.statistics.gpu_failures += len(failures)
        self.statistics.notices += failures  # the student has said them
        for item in batch:
            if item.is_speech and item.segment.cut == 0 and item.stream.band.turns_narrow(item.segment.log_mel):
                notice = f"{item.stream.name}: {NARROW}" if item.stream.name else NARROW
                self.statistics.notices.append(notice)
                self._notify(notice)

    def _gpu_failures(self) -> list[str]:
        return [failure for ear in self._ears for failure in ear.student.gpu_failures]


def _events(batch: Sequence[Ready], decided: Sequence[Decided]) -> list[Event]:
    """Of each stream's moment all that was decided, in the order of time."""
    if len(batch) == 1:
        return batch[0].stream.events(decided[0], batch[0].received_seconds)
    events = list[Event]()
    for _, pairs in groupby(zip(batch, decided, strict=True), key=lambda pair: pair[0].moment):
        (first, own), *others = pairs
        together = [*own, *(decision for _, more in others for decision in more)]
        events += first.stream.events(together, first.received_seconds)
    return events


def _batch(log_mels: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """[80, 1, F] each -> [B, 80, 1, F]; a single one is not copied."""
    return log_mels[0][None] if len(log_mels) == 1 else np.stack(log_mels)


def _check(samples: NDArray[np.float32]) -> None:
    """Raises InputError where samples are not float32 [n] in [-1, 1]: one bad number would stay in every later answer."""
    if samples.dtype != np.float32 or samples.ndim != 1:
        raise InputError(
            f"expected samples float32 [n] at {SAMPLE_RATE_HZ} Hz mono, got {samples.dtype} {list(samples.shape)}: "
            "divide int16 by 32768, and of several channels take one or the mean"
        )
    peak = float(np.maximum.reduce(np.abs(samples), initial=0))
    if not peak <= LOUDEST:
        raise InputError(
            f"expected samples in [-1, 1], got {peak:g}: divide int16 by 32768, and leave such a block out"
        )
