"""The stream as a whole: any blocks, many streams, two tasks, gaps. On the shipped student in fp32 and on a two-task one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from edge_lupi.bundle.bundle import SHIPPED, Bundle
from edge_lupi.errors import BundleError, InputError
from edge_lupi.events import Event
from edge_lupi.runtime.compiled_student import Branch, CompiledStudent, Step
from edge_lupi.runtime.gates import silero
from edge_lupi.runtime.gates.silero_graph import Judged, Run, judge
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.runtime.segments import Segmenter
from edge_lupi.runtime.sources.block import Block
from edge_lupi.sound.offset import without_offset

TWO_VOICES = Path(__file__).resolve().parents[3] / "examples" / "two_voices.flac"


@pytest.fixture(scope="module")
def two_tasks(make_grid_student: Callable[[], Any], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle for mood and speaker, fp32, segments of 0.5 s every 0.25 s."""
    from edge_lupi.compile.request import Request
    from edge_lupi.compile.student import compile_student
    from edge_lupi.models.files import save_student

    folder = tmp_path_factory.mktemp("two_tasks")
    save_student(folder / "two.pt", make_grid_student())
    compile_student(folder / "two.pt", folder / "two.lupi", Request(precision="fp32"))
    return Bundle.load(folder / "two.lupi")


@pytest.fixture(scope="module")
def real_speech(data_root: Path) -> np.ndarray:
    """Twelve readers of the training part, one after the other, 20 s."""
    paths = sorted((data_root / "librispeech_excerpts" / "audio").glob("*/*.flac"))[:12]
    return np.concatenate([soundfile.read(path, dtype="float32", frames=26_667)[0] for path in paths])


def _blocks(samples: np.ndarray, sizes: Iterable[int]) -> Iterator[Block]:
    start = 0
    for size in sizes:
        if start >= len(samples):
            return
        yield Block(samples[start : start + size], 0.0)
        start += size


def _forever(size: int) -> Iterator[int]:
    while True:
        yield size


def _random_sizes() -> Iterator[int]:
    random = np.random.default_rng(0)
    while True:
        yield int(random.integers(1, 4000))


def _told(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Everything that an event says, but for how long it took."""
    return [{**json.loads(event.to_json()), "latency_ms": None} for event in events]


def _in_turn(streams: dict[str, np.ndarray], size: int = 1600) -> Iterator[Block]:
    """A block of each stream at a time."""
    for start in range(0, max(map(len, streams.values())), size):
        begun = {name: sound for name, sound in streams.items() if start < len(sound)}
        for name, sound in begun.items():
            yield Block(sound[start : start + size], 0.0, stream=name, more=name != list(begun)[-1])


@pytest.mark.parametrize("sizes", [_forever(1), _forever(7), _forever(160), _forever(16_000), _random_sizes()])
def test_whatever_the_blocks_the_stream_is_what_the_whole_is(
    two_tasks: Bundle, real_speech: np.ndarray, sizes: Iterator[int]
) -> None:
    samples = real_speech[: 6 * 16_000]
    student = CompiledStudent(two_tasks, "speaker")
    segmenter = Segmenter(student.log_mel, student.segmentation)
    streamed = [segment for block in _blocks(samples, sizes) for segment in segmenter.push(block.samples)]
    embeddings = np.concatenate([student.encode(segment.log_mel[None]) for segment in streamed])
    np.testing.assert_allclose(embeddings, student.encode(student.segments(without_offset(samples))), atol=1e-5)


@pytest.mark.parametrize("sizes", [_forever(7), _forever(1600), _random_sizes()])
def test_whatever_the_blocks_the_events_are_the_same(real_speech: np.ndarray, sizes: Iterator[int]) -> None:
    listener = Listener(SHIPPED / "speaker.lupi")
    expected = _told(listener.listen([Block(real_speech, 0.0)]))
    assert len(expected) > 20
    assert _told(listener.listen(_blocks(real_speech, sizes))) == expected


@pytest.mark.parametrize("gate", ["energy", "voice"])
@pytest.mark.parametrize("tasks", ["speaker", ["speaker", "mood"]])
def test_a_stream_does_not_depend_on_its_neighbours(
    two_tasks: Bundle, real_speech: np.ndarray, tasks: str | list[str], gate: str
) -> None:
    quiet = real_speech * np.float32(0.05)
    streams = {"a": real_speech, "b": quiet[16_000 * 7 :], "c": real_speech[16_000 * 3 : 16_000 * 9 + 801]}
    listener = Listener(two_tasks, tasks, gate=gate)
    together = _told(listener.listen(_in_turn(streams)))
    assert listener.statistics.streams == 3
    for name, samples in streams.items():
        alone = _told(listener.listen(_blocks(samples, _forever(1600))))
        assert len(alone) > 3
        _same(together, name, alone)


def _same(together: list[dict[str, Any]], name: str, alone: list[dict[str, Any]]) -> None:
    """A batch may round otherwise than one segment: figures agree to 1e-4 (they are printed with four digits)."""
    mine = [event for event in together if event["stream"] == name]
    for event, other in zip(mine, alone, strict=True):
        assert (event["time"], event["start"], event["label"]) == (other["time"], other["start"], other["label"])
        figure = "score" if event["task"] == "speaker" else "probability"
        assert event[figure] == pytest.approx(other[figure], abs=2e-4)


def test_embeddings_in_a_batch_are_those_alone(two_tasks: Bundle, real_speech: np.ndarray) -> None:
    student = CompiledStudent(two_tasks, "speaker")
    segments = student.segments(real_speech)[:16]
    alone = np.concatenate([student.encode(segment[None]) for segment in segments])
    np.testing.assert_allclose(student.encode(segments), alone, atol=1e-5)


def _encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many segments each pass of an encoder takes from now on."""
    batches, encode = list[int](), CompiledStudent.encode

    def counted(self: CompiledStudent, log_mel: np.ndarray, levels_db: Sequence[float]) -> np.ndarray:
        batches.append(len(log_mel))
        return encode(self, log_mel, levels_db)

    monkeypatch.setattr(CompiledStudent, "encode", counted)
    return batches


def test_what_is_ready_together_is_one_batch(
    two_tasks: Bundle, real_speech: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = _encoded(monkeypatch)
    listener = Listener(two_tasks, "speaker", gate="energy")
    list(listener.listen(_in_turn({str(n): real_speech for n in range(20)})))
    assert max(batches) == listener.student.max_batch == 16
    assert sum(batches) == listener.statistics.encoded
    assert len(batches) <= listener.statistics.encoded / 10 + 5


def test_gate_and_aggregator_are_asked_once_for_all_streams(
    two_tasks: Bundle, real_speech: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, steps = list[int](), list[int]()

    def judged(asked: Sequence[Run]) -> list[Judged]:
        runs.append(len(asked))
        return judge(asked)

    def stepped(self: Branch, embedding: np.ndarray, state: np.ndarray) -> Step:
        steps.append(len(embedding))
        return step(self, embedding, state)

    step = Branch.step
    listener = Listener(two_tasks, "speaker")
    monkeypatch.setattr(silero, "judge", judged)
    monkeypatch.setattr(Branch, "step", stepped)
    list(listener.listen(_in_turn({str(n): real_speech[: 16_000 * 6] for n in range(16)})))
    together = [rows for rows in steps if rows > 1]  # one row alone: a segment that was held joins another turn
    assert sum(together) > listener.statistics.encoded  # behind the turn, and behind nothing
    assert len(together) < listener.statistics.encoded / 12
    assert len(runs) < sum(runs) / 12


def test_two_tasks_from_one_pass_of_the_encoder(
    two_tasks: Bundle, voice: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = voice(0, 4.0)
    encoded = _encoded(monkeypatch)
    both = Listener(two_tasks, ["speaker", "mood"], gate="energy")
    told = _told(both.listen(_blocks(samples, _forever(1600))))
    assert sum(encoded) == both.statistics.encoded
    for task in ("speaker", "mood"):
        alone = _told(Listener(two_tasks, task, gate="energy").listen(_blocks(samples, _forever(1600))))
        assert alone
        assert [event for event in told if event["task"] == task] == alone


def test_a_bundle_without_one_of_the_tasks_is_one_sentence(two_tasks: Bundle) -> None:
    with pytest.raises(BundleError, match="expected a bundle for task emotion"):
        Listener(two_tasks, ["speaker", "emotion"])
    with pytest.raises(InputError, match="each task once"):
        Listener(two_tasks, ["mood", "mood"])


def test_a_gap_is_told_once_and_the_time_goes_on(real_speech: np.ndarray) -> None:
    lost = 16_000 * 3 + 800
    before, after = real_speech[: 16_000 * 6], real_speech[16_000 * 6 : 16_000 * 12]
    blocks = [Block(before, 0.0), Block(after, 0.0, dropped=lost, gap=True)]
    events = list(Listener(SHIPPED / "speaker.lupi").listen(blocks))
    marked = [event for event in events if event.gap_seconds]
    assert [event.gap_seconds for event in marked] == [pytest.approx(3.05)]
    assert marked[0] == next(event for event in events if event.time > 6.0)
    assert marked[0].start >= 9.05
    assert events[-1].dropped == lost
    alone = _told(Listener(SHIPPED / "speaker.lupi").listen([Block(after, 0.0)]))
    assert events[-1].time == pytest.approx(alone[-1]["time"] + 9.05)


def test_gaps_belong_to_their_stream(real_speech: np.ndarray) -> None:
    half = len(real_speech) // 2
    blocks = [
        Block(real_speech[:half], 0.0, stream="a"),
        Block(real_speech[:half], 0.0, stream="b"),
        Block(real_speech[half:], 0.0, stream="a", dropped=4000, gap=True),
        Block(real_speech[half:], 0.0, stream="b"),
    ]
    listener = Listener(SHIPPED / "speaker.lupi")
    events = list(listener.listen(blocks))
    assert {event.stream for event in events if event.gap_seconds} == {"a"}
    assert {event.dropped for event in events if event.stream == "b"} == {0}
    assert listener.statistics.dropped == 4000


def test_silence_does_not_run_the_encoder(real_speech: np.ndarray) -> None:
    listener = Listener(SHIPPED / "speaker.lupi")
    noise = np.random.default_rng(0).standard_normal(16_000 * 30).astype(np.float32) * 0.01
    assert list(listener.listen([Block(noise, 0.0)])) == []
    assert (listener.statistics.segments, listener.statistics.encoded) == (59, 0)


def test_presets_change_the_hop_and_say_what_they_cost(real_speech: np.ndarray) -> None:
    found = {}
    for name in ("low", "normal"):
        listener = Listener(SHIPPED / "speaker.lupi", latency=name)
        found[name] = list(listener.listen([Block(real_speech, 0.0)]))
        assert listener.statistics.algorithm_seconds == listener.algorithm_seconds
    assert Listener(SHIPPED / "speaker.lupi", latency="low").segmentation.hop_seconds == 0.25
    assert len(found["low"]) > 1.5 * len(found["normal"])


Cli = Callable[..., subprocess.CompletedProcess[str]]


def test_channels_through_the_command_line(cli: Cli, tmp_path: Path) -> None:
    speech = soundfile.read(TWO_VOICES, dtype="float32")[0][: 16_000 * 10]
    stereo = tmp_path / "stereo.wav"
    soundfile.write(stereo, np.stack([speech, np.zeros_like(speech)], axis=1), 16_000)
    done = cli("listen", "--input", stereo, "--channels", "0,1", "--json", env={"XDG_DATA_HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert {json.loads(line)["stream"] for line in done.stdout.splitlines()} == {"0"}
    assert "of 2 streams" in done.stderr


def test_several_files_through_the_command_line(cli: Cli, tmp_path: Path) -> None:
    speech = soundfile.read(TWO_VOICES, dtype="float32")[0]
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, speech[: 16_000 * 10], 16_000)
    inputs = ["--input", tmp_path / "a.wav", "--input", tmp_path / "b.wav"]
    done = cli("listen", *inputs, "--json", env={"XDG_DATA_HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    a, b = ([e for e in events if e["stream"] == str(tmp_path / name)] for name in ("a.wav", "b.wav"))
    assert len(a) == len(b) > 5
    assert [event["label"] for event in a] == [event["label"] for event in b]


def test_tasks_through_the_command_line(cli: Cli, two_tasks: Bundle, sound_file: Any, voice: Any) -> None:
    path = sound_file("voice.wav", voice(0, 4.0))
    done = cli("listen", two_tasks.path, "--task", "speaker,mood", "--gate", "energy", "--input", path, "--json")
    assert done.returncode == 0, done.stderr
    assert {json.loads(line)["task"] for line in done.stdout.splitlines()} == {"speaker", "mood"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gate", "ear"], "expected a gate"),
        (["--latency", "none"], "expected a latency"),
        (["--channels", "a"], "expected whole numbers"),
        (["--channels", "7"], "expected channels of 0 to 0"),
        (["--task", "speaker,mood"], "no bundle for task mood comes with edge-lupi"),
        (["--task", "speaker,speaker"], "expected each task once"),
        ([SHIPPED / "speaker.lupi", "--task", "speaker,emotion"], "expected a bundle for task emotion"),
        (
            [SHIPPED / "speaker.lupi", SHIPPED / "emotion.lupi", "--task", "speaker"],
            "got none that falls to emotion.lupi",
        ),
        (
            [SHIPPED / "speaker.lupi", SHIPPED / "emotion.lupi", "--task", "speaker,mood"],
            "expected a bundle for task mood among those named",
        ),
    ],
)
def test_what_cannot_be_asked_for_is_one_sentence(cli: Cli, tmp_path: Path, words: list[str | Path], said: str) -> None:
    done = cli("listen", "--input", TWO_VOICES, *words, env={"XDG_DATA_HOME": str(tmp_path)})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("edge-lupi: ")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_reader_of_events_may_leave(tmp_path: Path) -> None:
    import os
    import sys

    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "edge_lupi.cli", "listen", "--input", str(TWO_VOICES), "--json"]
    listening = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True)
    assert listening.stdout is not None
    assert listening.stderr is not None
    assert listening.stdout.readline().startswith("{")
    listening.stdout.close()
    assert (listening.wait(30), listening.stderr.read()) == (0, "")
    listening.stderr.close()
