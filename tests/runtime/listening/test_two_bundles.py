"""Two bundles, one listener: who, and in what emotion, from one gate and one front end. Real speech, the shipped bundles."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

from edge_lupi import Listener, shipped_bundle
from edge_lupi.events import Event
from edge_lupi.frames import Segmentation
from edge_lupi.runtime.front_end import FftFrontEnd
from edge_lupi.runtime.gates.silero import VoiceGate
from edge_lupi.runtime.segments import Segment, Segmenter
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.speakers.gallery import Gallery
from edge_lupi.sound.audio import read_audio

TWO_VOICES = Path(__file__).resolve().parents[3] / "examples" / "two_voices.flac"
TASKS = ["speaker", "emotion"]
BOTH = [shipped_bundle(task) for task in TASKS]


@pytest.fixture(scope="module")
def talk() -> np.ndarray:
    return read_audio(TWO_VOICES)[: 16_000 * 15]


def _blocks(samples: np.ndarray, size: int = 1600, streams: int = 1) -> Iterator[Block]:
    for start in range(0, len(samples), size):
        for stream in range(streams):
            name = str(stream) if streams > 1 else ""
            yield Block(samples[start : start + size], 0.0, stream=name, more=stream + 1 < streams)


def _told(listener: Listener, blocks: Iterator[Block]) -> list[Event]:
    return list(listener.listen(blocks))


def _said(events: list[Event]) -> list[tuple[str, float, float, str]]:
    return [(event.task, event.start, event.time, event.label) for event in events]


@pytest.mark.parametrize("latency", ["normal", "low"])
@pytest.mark.parametrize("block", [777, 10**6])
def test_both_tell_what_each_tells_alone_in_the_order_of_time(talk: np.ndarray, latency: str, block: int) -> None:
    both = _told(Listener(BOTH, gallery=None, latency=latency), _blocks(talk, block))
    for bundle, task in zip(BOTH, TASKS, strict=True):
        alone = _told(Listener(bundle, task, gallery=None, latency=latency), _blocks(talk, block))
        assert _said([event for event in both if event.task == task]) == _said(alone)
    assert [event.time for event in both] == sorted(event.time for event in both)
    assert {event.task for event in both} == set(TASKS)


def test_one_gate_and_one_front_end(talk: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds: dict[str, list[float]] = {"gate": [], "front end": []}

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, *heard: np.ndarray) -> Any:
            found = real(self, *heard)
            (frames,) = found if isinstance(found, list) else [found]
            seconds[name].append(frames.shape[-1] / 100)
            return found

        return call

    listener = Listener(BOTH, gallery=None)
    monkeypatch.setattr(VoiceGate, "push_all", counted("gate", VoiceGate.push_all))
    monkeypatch.setattr(FftFrontEnd, "__call__", counted("front end", FftFrontEnd.__call__))
    _told(listener, _blocks(talk))
    assert {name: round(sum(parts), 2) for name, parts in seconds.items()} == {"gate": 15.0, "front end": 15.0}


def test_streams_do_not_disturb_each_other(talk: np.ndarray) -> None:
    events = _told(Listener(BOTH, gallery=None), _blocks(talk, streams=3))
    alone = _said(_told(Listener(BOTH, gallery=None), _blocks(talk)))
    for stream in "012":
        assert _said([event for event in events if event.stream == stream]) == alone


def test_an_option_is_of_its_task(talk: np.ndarray) -> None:
    def said(task: str, **options: float) -> list[tuple[str, float, float, str]]:
        events = _told(Listener(BOTH, gallery=None, **options), _blocks(talk))
        return [one for one in _said(events) if one[0] == task]

    assert said("speaker", sure=0.99) == said("speaker") != said("speaker", threshold=0.9)
    assert said("emotion", threshold=0.9) == said("emotion") != said("emotion", sure=0.99)


def test_the_gallery_is_of_the_student_that_compares_voices(talk: np.ndarray, tmp_path: Path) -> None:
    own = Gallery(tmp_path / "own.json", Listener(BOTH[0], gallery=None).student.bundle.fingerprint)
    own.add("ann", np.eye(128, dtype=np.float32)[:1])
    for order in (BOTH, BOTH[::-1]):
        assert {task.name for task in Listener(order, gallery=own).tasks} == set(TASKS)


LONG, SHORT, ODD = Segmentation(1.5, 0.5), Segmentation(1.0, 0.5), Segmentation(0.7, 0.3)


def _cut(log_mel: FftFrontEnd, cuts: list[Segmentation], samples: np.ndarray, block: int) -> list[Segment]:
    first, *others = cuts
    segmenter = Segmenter(log_mel, first, beside=[(log_mel, cut) for cut in others])
    parts = [part for start in range(0, len(samples), block) for part in segmenter.push(samples[start : start + block])]
    return parts + segmenter.finish()


@pytest.mark.parametrize("cuts", [[SHORT, LONG], [LONG, SHORT], [SHORT, ODD, LONG], [LONG, LONG]])
@pytest.mark.parametrize("seconds", [0.3, 0.8, 1.0, 1.2, 1.5, 4.321])
@pytest.mark.parametrize("block", [331, 10**6])
def test_segments_beside_others_are_those_alone(
    talk: np.ndarray, cuts: list[Segmentation], seconds: float, block: int
) -> None:
    samples, log_mel = talk[16_000:][: round(seconds * 16_000)], FftFrontEnd()
    together = _cut(log_mel, cuts, samples, block)
    for number, cut in enumerate(cuts):
        own = [part for part in together if part.cut == number]
        alone = _cut(log_mel, [cut], samples, block)
        assert [(p.start_seconds, p.end_seconds) for p in own] == [(p.start_seconds, p.end_seconds) for p in alone]
        assert [p.speech_share for p in own] == pytest.approx([p.speech_share for p in alone])
        for one, other in zip(own, alone, strict=True):
            np.testing.assert_allclose(one.log_mel, other.log_mel, atol=1e-5)


def test_both_through_the_command_line(cli: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    for words in (["--task", "speaker,emotion"], ["--task", "speaker", "--task", "emotion"], BOTH):
        done = cli("listen", *words, "--input", TWO_VOICES, "--json", env={"XDG_DATA_HOME": str(tmp_path)})
        assert done.returncode == 0, done.stderr
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert {event["task"] for event in events} == set(TASKS)
        assert "latency 2.03 s by the method" in done.stderr


def test_of_two_files_both_tasks_are_told(
    cli: Callable[..., CompletedProcess[str]], sound_file: Callable[..., Path], talk: np.ndarray, tmp_path: Path
) -> None:
    files = [sound_file(name, talk) for name in ("hall.wav", "door.wav")]
    inputs = [word for file in files for word in ("--input", file)]
    done = cli("listen", *BOTH, "--task", "speaker,emotion", *inputs, "--json", env={"XDG_DATA_HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    told = {
        (str(file), task): [e["label"] for e in events if (e["stream"], e["task"]) == (str(file), task)]
        for file in files
        for task in TASKS
    }
    for task in TASKS:
        assert told[str(files[0]), task] == told[str(files[1]), task] != []
