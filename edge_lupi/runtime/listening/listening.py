"""One run of a listener: Blocks of sound in, Events out. All that a run remembers lies here, so runs do not disturb each other.

    listening = Listener(shipped_bundle("speaker")).begin()
    for event in listening.push(Block(samples)): ...    # samples float32 [n] at 16 kHz, any n, from anywhere
    for event in listening.finish(): ...

Every stream has its own segments and its own memory of who spoke. What is ready at the same moment, of one stream or of
many, goes through the encoder as one batch.
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
from edge_lupi.runtime.listening.ears import Ear
from edge_lupi.runtime.listening.statistics import Statistics
from edge_lupi.runtime.listening.stream import Stream
from edge_lupi.runtime.segments import SPEECH_SHARE, Segment, Segmenter
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.sources.source import say
from edge_lupi.runtime.trackers.tracker import Decision, Stranger, Tracker
from edge_lupi.sound.audio import LOUDEST

__all__ = ["Listening"]

Embedding = NDArray[np.float32]  # [1, D]


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A segment that is ready to be encoded, and when its last block came and was taken."""

    stream: Stream
    segment: Segment
    received_seconds: float
    taken_seconds: float

    @property
    def is_speech(self) -> bool:
        return self.segment.speech_share >= SPEECH_SHARE

    @property
    def moment(self) -> tuple[str, float]:
        """Segments of one stream for several students may end at once."""
        return self.stream.name, self.segment.end_seconds


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
        self._waiting: list[_Waiting] = []
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
        segments = stream.push(block)
        self.statistics.count_block(block, stream.seconds, segments[-1].level_db if segments else None)
        self._wait(stream, segments, block.received_seconds, taken_seconds)
        if block.more and len(self._waiting) < self._max_batch:
            return []
        return self._answer()

    def finish(self) -> list[Event]:
        """The end of all streams: the events about what was held back until now."""
        taken_seconds, self._is_over = time.perf_counter(), True
        for stream in self._streams.values():
            self._wait(stream, stream.last_segments(), self._received_seconds, taken_seconds)
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
        self._wait(stream, stream.last_segments(), self._received_seconds, taken_seconds)
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

    def _wait(self, stream: Stream, segments: list[Segment], received_seconds: float, taken_seconds: float) -> None:
        self._received_seconds = received_seconds
        self._waiting += [_Waiting(stream, segment, received_seconds, taken_seconds) for segment in segments]

    def _answer(self) -> list[Event]:
        """Encode what waits, in batches, and let each stream decide, moment by moment."""
        waiting, self._waiting = self._waiting, []
        events = list[Event]()
        while waiting:
            most = self._max_batch
            batch, waiting = waiting[:most], waiting[most:]
            embeddings = self._encode(batch)
            decisions = [
                item.stream.decide(self._ears[item.segment.cut].tasks, item.segment, embedding)
                for item, embedding in zip(batch, embeddings, strict=True)
            ]
            self._hand_on(batch, embeddings)
            self._count(batch)
            events += _events(batch, decisions)
        return events

    def _encode(self, batch: Sequence[_Waiting]) -> list[Embedding | None]:
        """An embedding [1, D] for each; None where hardly anybody speaks."""
        embeddings: list[Embedding | None] = [None] * len(batch)
        for number, ear in enumerate(self._ears):
            own = [place for place, item in enumerate(batch) if item.is_speech and item.segment.cut == number]
            if own:
                segments = [batch[place].segment for place in own]
                encoded = ear.encode(np.stack([one.log_mel for one in segments]), [one.level_db for one in segments])
                for row, place in enumerate(own):
                    embeddings[place] = encoded[row : row + 1]
        return embeddings

    def _hand_on(self, batch: Sequence[_Waiting], embeddings: Sequence[Embedding | None]) -> None:
        """To whoever asked what was encoded."""
        for item, embedding in zip(batch, embeddings, strict=True):
            if self._encoded and embedding is not None:
                self._encoded(item.stream.name, item.segment, embedding)

    def _count(self, batch: Sequence[_Waiting]) -> None:
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


def _events(batch: Sequence[_Waiting], decisions: Sequence[list[tuple[str, Decision]]]) -> list[Event]:
    """Of each stream's moment all that was decided, in the order of time."""
    events = list[Event]()
    for _, pairs in groupby(zip(batch, decisions, strict=True), key=lambda pair: pair[0].moment):
        (first, own), *others = pairs
        together = [*own, *(decision for _, more in others for decision in more)]
        events += first.stream.events(together, first.received_seconds)
    return events


def _check(samples: NDArray[np.float32]) -> None:
    """Raises InputError where samples are not float32 [n] in [-1, 1]: one bad number would stay in every later answer."""
    if samples.dtype != np.float32 or samples.ndim != 1:
        raise InputError(
            f"expected samples float32 [n] at {SAMPLE_RATE_HZ} Hz mono, got {samples.dtype} {list(samples.shape)}: "
            "divide int16 by 32768, and of several channels take one or the mean"
        )
    peak = float(np.abs(samples).max(initial=0))
    if not peak <= LOUDEST:
        raise InputError(
            f"expected samples in [-1, 1], got {peak:g}: divide int16 by 32768, and leave such a block out"
        )
