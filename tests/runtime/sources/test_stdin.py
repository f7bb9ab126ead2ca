"""Standard input: who cannot wait loses nothing uncounted, who can loses nothing, and sound files are heard as such."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

from edge_lupi.errors import InputError
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.sources.stdin import StdinSource
from edge_lupi.sound.audio import stream_audio

PIPE_BYTES = 4096
SET_PIPE_SIZE = 1031  # fcntl.h: F_SETPIPE_SZ


def _samples(seconds: float) -> np.ndarray:
    return np.arange(1, round(16_000 * seconds) + 1, dtype="<i2")


def _written(write: Callable[[int], None]) -> BinaryIO:
    """The end to read from; `write` has the other, in a thread."""
    import fcntl

    reader, writer = os.pipe()
    fcntl.fcntl(writer, SET_PIPE_SIZE, PIPE_BYTES)

    def work() -> None:
        try:
            write(writer)
        finally:
            os.close(writer)

    threading.Thread(target=work, daemon=True).start()
    return os.fdopen(reader, "rb")


def _all_at_once(data: bytes) -> Callable[[int], None]:
    def write(handle: int) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(handle, left) :]

    return write


def _heard(blocks: Iterator[Block]) -> np.ndarray:
    return np.concatenate([block.samples for block in blocks])


def test_a_writer_that_cannot_wait_loses_nothing_that_is_not_counted() -> None:
    sent, thrown = _samples(4.0), 0

    def in_real_time(handle: int) -> None:
        nonlocal thrown
        os.set_blocking(handle, False)
        began = time.perf_counter()
        for first in range(0, len(sent), 800):
            time.sleep(max(0.0, began + first / 16_000 - time.perf_counter()))
            data = sent[first : first + 800].tobytes()
            try:
                thrown += (len(data) - os.write(handle, data)) // 2
            except BlockingIOError:
                thrown += 800

    with _written(in_real_time) as stream:
        heard, dropped, gaps = list[np.ndarray](), 0, 0
        for block in StdinSource(stream=stream, ring_seconds=1.0):
            heard.append(block.samples)
            dropped, gaps = block.dropped, gaps + block.gap
            if len(heard) == 5:
                time.sleep(2.0)  # somebody who reads what we say stands still
    assert thrown == 0
    assert dropped > 8_000
    assert gaps >= 1
    assert sum(map(len, heard)) + dropped == len(sent)


def test_a_writer_that_can_wait_loses_nothing_however_slow_the_reader() -> None:
    sent = _samples(20.0)

    def slowly(source: StdinSource) -> Iterator[Block]:
        for number, block in enumerate(source):
            time.sleep(0.6 if number in (3, 90) else 0.002)
            yield block

    with _written(_all_at_once(sent.tobytes())) as stream:
        source = StdinSource(stream=stream, ring_seconds=0.5)
        blocks = list(slowly(source))
    assert blocks[-1].dropped == 0
    np.testing.assert_array_equal(_heard(iter(blocks)), sent.astype(np.float32) / 32768)
    assert source.peak_fill_seconds <= 0.6


def test_a_file_behind_an_angle_bracket_can_wait(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(_samples(5.0).tobytes())
    with (tmp_path / "a.raw").open("rb") as stream:
        blocks = [(time.sleep(0.01), block)[1] for block in StdinSource(stream=stream, ring_seconds=0.2)]
    assert len(_heard(iter(blocks))) == 5 * 16_000


@pytest.mark.parametrize("name", ["a.wav", "b.flac", "c.ogg", "d.mp3"])
@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_a_sound_file_is_heard_as_one(
    sound_file: Callable[..., Path], voice: Callable[..., Any], name: str, rate_hz: int
) -> None:
    path = sound_file(name, voice(0, 3.0, rate_hz), rate_hz)
    with _written(_all_at_once(path.read_bytes())) as stream:
        heard = _heard(iter(StdinSource(stream=stream)))
    np.testing.assert_allclose(heard, np.concatenate(list(stream_audio(path))), atol=1e-6)


def test_a_wav_is_heard_while_it_is_written(voice: Callable[..., Any]) -> None:
    """As `arecord` writes it to a pipe: the size in the header is no size."""
    pcm = (voice(0, 1.0) * 32767).astype("<i2").tobytes()
    head = b"RIFF" + struct.pack("<I", 0x7FFF_FFFF) + b"WAVEfmt "
    head += struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16) + b"data" + struct.pack("<I", 0x7FFF_FFDA)
    go_on = threading.Event()

    def write(handle: int) -> None:
        os.write(handle, head)
        _all_at_once(pcm[:16_000])(handle)
        go_on.wait(10)
        _all_at_once(pcm[16_000:])(handle)

    with _written(write) as stream:
        blocks = iter(StdinSource(stream=stream))
        first = next(blocks)
        go_on.set()
        assert len(_heard(iter([first, *blocks]))) == 16_000


@pytest.mark.parametrize(("head", "kind"), [(b"\0\0\0\x20ftypisom", "MP4"), (b"\x1aE\xdf\xa3" + bytes(8), "Matroska")])
def test_what_cannot_be_decoded_from_a_pipe_is_one_sentence(head: bytes, kind: str) -> None:
    with (
        _written(_all_at_once(head + bytes(4000))) as stream,
        pytest.raises(InputError, match=f"got {kind}.*give it as a file"),
    ):
        list(StdinSource(stream=stream))


def test_closed_standard_input_is_one_sentence(tmp_path: Path) -> None:
    command = f"exec {sys.executable} -m edge_lupi.cli listen --input - <&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
