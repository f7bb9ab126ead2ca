"""Several sources as one: names, turns, threads, and what happens when one of them fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from edge_lupi.errors import InputError
from edge_lupi.runtime.listening.statistics import Statistics
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.sources.several import Several
from edge_lupi.runtime.sources.source import Source, blocks_of


class Counting(Source):
    """Blocks of one sample: first, first + 1 ... A live one comes in real time, a bad one fails after them."""

    def __init__(self, first: int, count: int, *, live: bool = False, bad: bool = False, streams: int = 0) -> None:
        super().__init__()
        self._numbers, self.live, self._bad, self._streams = range(first, first + count), live, bad, streams
        self.entered = 0

    def __enter__(self) -> Counting:
        self.entered += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.entered -= 1

    def __iter__(self) -> Iterator[Block]:
        for number in self._numbers:
            if self._stopped:
                return
            if self.live:
                time.sleep(0.002)
            samples = np.array([number], np.float32)
            yield from (
                (Block(samples, 0.0, stream=str(n)) for n in range(self._streams))
                if self._streams
                else (Block(samples, 0.0),)
            )
        if self._bad:
            raise InputError("this one is damaged")


def _numbers(blocks: list[Block], stream: str) -> list[int]:
    return [int(block.samples[0]) for block in blocks if block.stream == stream]


def test_files_take_turns_and_keep_their_names() -> None:
    blocks = list(Several({"a": Counting(0, 3), "b": Counting(10, 2)}))
    assert [(block.stream, int(block.samples[0])) for block in blocks] == [
        ("a", 0),
        ("b", 10),
        ("a", 1),
        ("b", 11),
        ("a", 2),
    ]
    assert [block.more for block in blocks] == [True, False, True, False, True]


def test_channels_are_named_after_their_source() -> None:
    blocks = list(Several({"a": Counting(0, 2, streams=2), "b": Counting(5, 1)}))
    assert list(dict.fromkeys(block.stream for block in blocks)) == ["a:0", "b", "a:1"]


@pytest.mark.parametrize("other", [False, True])
def test_live_sources_come_as_they_come_and_lose_nothing(other: bool) -> None:
    several = Several({"mic": Counting(0, 200, live=True), "b": Counting(1000, 300, live=other)})
    with several:
        blocks = list(several)
    assert _numbers(blocks, "mic") == list(range(200))
    assert _numbers(blocks, "b") == list(range(1000, 1300))


def test_all_are_opened_and_closed() -> None:
    sources = {"a": Counting(0, 1), "b": Counting(0, 1)}
    with Several(sources):
        assert [source.entered for source in sources.values()] == [1, 1]
    assert [source.entered for source in sources.values()] == [0, 0]


def test_stopping_ends_all_threads() -> None:
    several = Several({"a": Counting(0, 10**6, live=True), "b": Counting(0, 10**6)})
    stream = iter(several)
    next(stream)
    threading.Timer(0.05, several.stop).start()
    assert len(list(stream)) < 10**5
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("edge-lupi")]


def test_a_reader_that_leaves_ends_all_threads() -> None:
    stream = iter(Several({"a": Counting(0, 10**6, live=True), "b": Counting(0, 10**6)}))
    next(stream)
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("edge-lupi")]


@pytest.mark.parametrize("live", [False, True])
def test_what_goes_wrong_in_one_is_told(live: bool) -> None:
    with pytest.raises(InputError, match="damaged"):
        list(Several({"a": Counting(0, 3, bad=True), "b": Counting(0, 10**6, live=live)}))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("edge-lupi")]


def test_a_device_that_came_back_counts_once_however_many_channels_it_has() -> None:
    statistics, samples = Statistics(), np.zeros((160, 2), np.float32)
    for block in blocks_of(samples, (0, 1), gap=True, dropped=80, reconnected=True, peak_fill_seconds=0.5):
        statistics.count_block(block, 0.01)
    assert (statistics.reconnections, statistics.peak_fill_seconds) == (1, 0.5)
    assert (statistics.dropped, list(statistics.by_stream)) == (160, ["0", "1"])
