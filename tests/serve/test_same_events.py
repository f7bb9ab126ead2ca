"""What comes over sockets is what comes from files: to the last figure, for every stream by its own clock, many at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from edge_lupi import Listener, SoundFile
from tests.serve.serving import BOTH, TWO_VOICES, Serving, ended, events, serving


def from_file(path: Path) -> list[dict[str, Any]]:
    """As `listen --json` prints them."""
    lines = [event.to_json() for event in Listener(BOTH, gallery=None).listen(SoundFile(path))]
    return events([json.loads(line) for line in lines])


def said_of(served: Serving, query: str, data: bytes, block_bytes: int) -> list[dict[str, Any]]:
    """All that a service says of a sound."""
    with served.open(query) as socket:
        for start in range(0, len(data), block_bytes):
            socket.send(data[start : start + block_bytes])
        socket.send('{"type": "end"}')
        return ended(socket)


@pytest.mark.parametrize("block_bytes", [640, 3_200, 100_000])
def test_whatever_the_blocks(served: Serving, block_bytes: int) -> None:
    samples, _ = soundfile.read(TWO_VOICES, dtype="int16", frames=15 * 16_000)
    lines = said_of(served, "", samples.astype("<i2").tobytes(), block_bytes)
    assert (lines[0]["type"], lines[-1]["type"]) == ("begin", "end")
    assert lines[-1]["seconds"] == 15.0
    assert lines[-1]["dropped"] == 0
    assert [line for line in events(lines) if line["time"] < 14] == [
        line for line in from_file(TWO_VOICES) if line["time"] < 14
    ]


def test_the_whole_of_a_file(served: Serving) -> None:
    data = soundfile.read(TWO_VOICES, dtype="int16")[0].astype("<i2").tobytes()
    assert events(said_of(served, "full=wait", data, 3_200)) == from_file(TWO_VOICES)


@pytest.mark.parametrize(("rate", "channels"), [(48_000, 2), (8_000, 1), (44_100, 1)])
def test_floats_at_other_rates(served: Serving, tmp_path: Path, rate: int, channels: int) -> None:
    import soxr

    samples = soxr.resample(soundfile.read(TWO_VOICES, dtype="float32", frames=12 * 16_000)[0], 16_000, rate)
    samples = np.repeat(samples[:, None], channels, 1).astype("<f4")
    soundfile.write(tmp_path / "sound.wav", samples, rate, subtype="FLOAT")
    query = f"rate={rate}&format=f32le&channels={channels}"
    assert events(said_of(served, query, samples.tobytes(), 4_000 * channels)) == from_file(tmp_path / "sound.wav")


@pytest.fixture(scope="module")
def voices(data_root: Path) -> list[Path]:
    return sorted((data_root / "librispeech_excerpts" / "audio").glob("*/*.flac"))[:6]


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[tuple[Serving, list[int]]]:
    """A service, and the sizes of its encoder's batches."""
    sizes = list[int]()
    with serving(tmp_path) as served:
        ears = served.service.listener.ears
        for place, ear in enumerate(ears):

            def counted(log_mel: Any, *levels: Any, encode: Any = ear.encode) -> Any:
                sizes.append(len(log_mel))
                return encode(log_mel, *levels)

            ears[place] = replace(ear, encode=counted)
        yield served, sizes


def test_many_at_once_in_one_batch(busy: tuple[Serving, list[int]], voices: list[Path]) -> None:
    """Six people read at once, each begins when another has come so far; each is heard as if alone."""
    served, sizes = busy

    def stream(number: int) -> list[dict[str, Any]]:
        data = soundfile.read(voices[number], dtype="int16")[0].astype("<i2").tobytes()
        return said_of(served, f"name=reader {number}".replace(" ", "%20"), data, 3_200 * (number + 1))

    with ThreadPoolExecutor(6) as clients:
        said = list(clients.map(stream, range(6)))
    for number, lines in enumerate(said):
        assert lines[0]["stream"] == f"reader {number}"
        assert len(events(lines)) > 10
        close(events(lines), from_file(voices[number]))
    assert max(sizes) > 1
    assert served.service.streams == []


def close(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    """The same; scores as near as products of other batches are."""
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        figures = {"score", "probability"}
        assert {k: v for k, v in one.items() if k not in figures} == {
            k: v for k, v in other.items() if k not in figures
        }
        for figure in figures & set(one):
            assert one[figure] == pytest.approx(other[figure], abs=2e-3)
