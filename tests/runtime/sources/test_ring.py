import threading

import numpy as np
import pytest

from edge_lupi.runtime.sources.ring import Ring


def _numbers(start: int, count: int) -> np.ndarray:
    return np.arange(start, start + count, dtype=np.float32)


def test_gives_back_what_was_written_in_order() -> None:
    ring = Ring(1000)
    ring.write(_numbers(0, 10))
    ring.write(_numbers(10, 5))
    first, second = ring.read(0), ring.read(0)
    np.testing.assert_array_equal(np.concatenate([first.samples, second.samples]), _numbers(0, 15))
    assert (first.dropped, first.gap, second.gap) == (0, False, False)
    assert first.received_seconds <= second.received_seconds
    assert ring.read(0) is None
    assert ring.peak_fill == 15
    assert ring.fill == 0


def test_a_slow_reader_loses_the_oldest_and_is_told_once() -> None:
    ring = Ring(100)
    for start in range(0, 200, 20):
        ring.write(_numbers(start, 20))
    blocks = [ring.read(0) for _ in range(ring.fill // 20)]
    kept = np.concatenate([block.samples for block in blocks])
    np.testing.assert_array_equal(kept, _numbers(200 - len(kept), len(kept)))
    assert ring.dropped == blocks[0].dropped == 200 - len(kept)
    assert [block.gap for block in blocks] == [True] + [False] * (len(blocks) - 1)
    assert ring.peak_fill <= 100


def test_what_the_device_lost_is_told_where_it_was_lost() -> None:
    ring = Ring(1000)
    ring.write(_numbers(0, 10))
    ring.lose(320)
    ring.write(_numbers(330, 10))
    ring.write(_numbers(340, 10))
    assert [(block.dropped, block.gap) for block in (ring.read(0), ring.read(0), ring.read(0))] == [
        (0, False),
        (320, True),
        (320, False),
    ]


def test_losses_of_device_and_ring_add_up() -> None:
    ring = Ring(40)
    ring.write(_numbers(0, 20))
    ring.lose(5)
    ring.write(_numbers(25, 20))
    ring.write(_numbers(45, 20))  # 60 > 40: both older blocks go
    block = ring.read(0)
    assert (block.samples[0], block.dropped, block.gap, ring.dropped) == (45, 45, True, 45)


def test_writer_and_reader_in_two_threads_lose_nothing_uncounted() -> None:
    ring, total, heard, lost = Ring(5_000), 200_000, 0, 0
    writer = threading.Thread(target=lambda: [ring.write(_numbers(start, 100)) for start in range(0, total, 100)])
    writer.start()
    while (block := ring.read(0.5)) is not None:
        assert block.samples[0] == heard + block.dropped  # the time base stays exact across every gap
        heard, lost = heard + len(block.samples), block.dropped
    writer.join()
    assert heard + lost == total
    assert lost == ring.dropped


def test_reading_waits_for_a_writer() -> None:
    ring = Ring(100)
    threading.Timer(0.05, ring.write, [_numbers(0, 10)]).start()
    assert ring.read(2.0) is not None


def test_refuses_no_capacity() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        Ring(0)
