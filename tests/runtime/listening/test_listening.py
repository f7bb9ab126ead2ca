"""A run of its own: blocks of any size are the file at once, and two runs of one listener are two alone. Real speech."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge_lupi import Block, Event, Listener, Listening, shipped_bundle
from edge_lupi.errors import InputError
from edge_lupi.runtime.compiled_student import CompiledStudent

BOTH = [shipped_bundle(task) for task in ("speaker", "emotion")]


@pytest.fixture(scope="module")
def readers(data_root: Path) -> list[np.ndarray]:
    """Two of the readers of the training part with others between them, 10 s each."""
    paths = sorted((data_root / "librispeech_excerpts" / "audio").glob("*/*.flac"))
    speech = [soundfile.read(path, dtype="float32", frames=40_000)[0] for path in paths[:8]]
    return [np.concatenate(speech[:4]), np.concatenate(speech[4:])]


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener(BOTH, gallery=None)


def _blocks(samples: np.ndarray, size: int) -> Iterator[Block]:
    return (Block(samples[start : start + size], 0.0) for start in range(0, len(samples), size))


def _run(listening: Listening, blocks: Iterator[Block]) -> list[Event]:
    events = [event for block in blocks for event in listening.push(block)]
    return _same([*events, *listening.finish()])


def _same(events: list[Event]) -> list[Event]:
    """All that events say, but for how long they took."""
    return [replace(event, latency_ms=0.0) for event in events]


def _close(events: list[Event], others: list[Event]) -> None:
    """A batch may round otherwise than one segment."""
    for event, other in zip(events, others, strict=True):
        for name, value in vars(event).items():
            assert vars(other)[name] == (pytest.approx(value, abs=2e-4) if isinstance(value, float) else value)


@pytest.mark.parametrize("size", [1, 7, 160, 4_321])
def test_blocks_of_any_size_are_the_file_at_once(listener: Listener, readers: list[np.ndarray], size: int) -> None:
    samples = readers[0][: 16_000 * 4] if size == 1 else readers[0]
    whole, parts = listener.begin(), listener.begin()
    at_once = _run(whole, iter([Block(samples, 0.0)]))
    assert {event.task for event in at_once} == {"speaker", "emotion"}
    _close(_run(parts, _blocks(samples, size)), at_once)
    assert parts.statistics.heard_seconds == pytest.approx(whole.statistics.heard_seconds)
    assert (parts.statistics.segments, parts.statistics.encoded) == (
        whole.statistics.segments,
        whole.statistics.encoded,
    )


def test_two_runs_at_once_are_two_alone(listener: Listener, readers: list[np.ndarray]) -> None:
    alone = [_run(listener.begin(), _blocks(samples, 1600)) for samples in readers]
    first, second = listener.begin(), listener.begin()
    events: list[list[Event]] = [[], []]
    for one, other in zip(_blocks(readers[0], 1600), _blocks(readers[1], 1600), strict=True):
        events[0] += first.push(one)
        events[1] += second.push(replace(other, dropped=16))
    together = [_same([*own, *run.finish()]) for own, run in zip(events, (first, second), strict=True)]
    assert together[0] == alone[0] != alone[1]
    assert [replace(event, dropped=0) for event in together[1]] == alone[1]
    assert (first.statistics.dropped, second.statistics.dropped) == (0, 16)
    assert first.statistics.heard_seconds == pytest.approx(len(readers[0]) / 16_000)


def test_a_stream_that_ends_leaves_the_others_alone(listener: Listener, readers: list[np.ndarray]) -> None:
    """It gives what the end of a run gives, and is then forgotten: the name begins anew."""
    run, alone = listener.begin(), [_run(listener.begin(), _blocks(reader, 1600)) for reader in readers]
    stays = list[Event]()
    for block in _blocks(readers[1], 1600):
        stays += run.push(replace(block, stream="stays"))
    for _ in range(2):
        goes = [event for block in _blocks(readers[0], 1600) for event in run.push(replace(block, stream="goes"))]
        goes += run.end("goes")
        assert _same([replace(event, stream=None) for event in goes]) == alone[0]
    assert run.end("goes") == []
    assert list(run.statistics.by_stream) == ["stays"]
    assert _same([replace(event, stream=None) for event in [*stays, *run.finish()]]) == alone[1]


def test_two_loops_at_once_are_two_alone(listener: Listener, readers: list[np.ndarray]) -> None:
    alone = [_same(list(listener.listen(_blocks(samples, 1600)))) for samples in readers]
    loops = [listener.listen(_blocks(samples, 1600)) for samples in readers]
    events: list[list[Event]] = [[], []]
    for _ in range(max(map(len, alone))):
        for own, loop in zip(events, loops, strict=True):
            own += [event for event in [next(loop, None)] if event]
    assert [_same(own) for own in events] == alone


def test_a_failure_of_the_gpu_is_of_the_runs_that_met_it(
    readers: list[np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    listener = Listener(shipped_bundle("speaker"), gallery=None)
    before, later = listener.begin(), None
    for number, block in enumerate(_blocks(readers[0], 1600)):
        if number == 30:
            listener.student._failed(RuntimeError("lost"))  # type: ignore[arg-type]  # what `Spared` calls
        before.push(block)
        later = later or (listener.begin() if number > 30 else None)
        if later:
            later.push(block)
    assert later is not None
    assert (before.statistics.gpu_failures, later.statistics.gpu_failures) == (1, 0)
    assert capsys.readouterr().err.count("the GPU failed") == 1
    assert "the GPU failed" in before.statistics.notices[0]


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(160, np.int16), "expected samples float32"),
        (np.zeros(160), "got float64"),
        (np.zeros((160, 2), np.float32), r"got float32 \[160, 2\]"),
        (np.full(160, np.nan, np.float32), "got nan"),
        (np.full(160, 3000.0, np.float32), "got 3000"),
    ],
)
def test_what_is_no_sound_is_refused_and_the_run_goes_on(
    listener: Listener, readers: list[np.ndarray], samples: np.ndarray, reason: str
) -> None:
    expected, listening = _run(listener.begin(), _blocks(readers[0], 1600)), listener.begin()
    events = list[Event]()
    for block in _blocks(readers[0], 1600):
        with pytest.raises(InputError, match=reason):
            listening.push(Block(samples))
        events += listening.push(block)
    assert _same([*events, *listening.finish()]) == expected
    assert listening.statistics.streams == 1


def test_a_run_that_is_over_takes_no_more(listener: Listener) -> None:
    listening = listener.begin()
    assert listening.finish() == []
    with pytest.raises(InputError, match="begin another run"):
        listening.push(Block(np.zeros(160, np.float32)))


def test_enrolment_hears_what_listening_hears(
    readers: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, voice: Callable[..., np.ndarray]
) -> None:
    from edge_lupi.runtime.enrolment.enrolment import Enrolment

    encoded = list[np.ndarray]()
    encode = CompiledStudent.encode

    def watched(self: CompiledStudent, segments: np.ndarray, levels_db: Sequence[float]) -> np.ndarray:
        encoded.append(encode(self, segments, levels_db))
        return encoded[-1]

    monkeypatch.setattr(CompiledStudent, "encode", watched)
    listener = Listener(shipped_bundle("speaker"), gallery=None)
    list(listener.listen(_blocks(readers[0], 1600)))
    by_listening = np.concatenate(encoded)
    encoded.clear()
    enrolment = Enrolment(listener.student)
    enrolment.hear(_blocks(readers[0], 1600))
    np.testing.assert_array_equal(enrolment.embeddings, by_listening)
