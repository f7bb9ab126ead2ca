"""The shipped speaker bundle on the two synthetic voices of examples/, through Listener and through the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge_lupi.bundle.bundle import SHIPPED, Bundle
from edge_lupi.errors import InputError
from edge_lupi.events import Event
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.enrolment.enrolment import Enrolment
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.sources.files import SoundFile
from edge_lupi.runtime.speakers.gallery import Gallery
from edge_lupi.vectors import unit

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
TWO_VOICES = EXAMPLES / "two_voices.flac"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    if not (SHIPPED / "speaker.lupi").is_dir():
        pytest.skip("no speaker bundle in the package")
    return Bundle.load(SHIPPED / "speaker.lupi")


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    return soundfile.read(TWO_VOICES, dtype="float32")[0]


def _blocks(samples: np.ndarray, size: int) -> Iterator[Block]:
    return (Block(samples[start : start + size], 0.0) for start in range(0, len(samples), size))


def _told(events: Iterator[Event]) -> list[tuple[float, float, str]]:
    return [(event.start, event.time, event.label) for event in events]


def _edge_lupi(*arguments: str, home: Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "XDG_DATA_HOME": str(home)}
    command = [sys.executable, "-m", "edge_lupi.cli", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, env=environment, timeout=120)


@pytest.mark.parametrize("size", [333, 16_000, 10**7])
def test_the_events_do_not_depend_on_the_blocks(bundle: Bundle, samples: np.ndarray, size: int) -> None:
    listener = Listener(bundle)
    expected = _told(listener.listen(_blocks(samples, 1600)))
    assert len(expected) > 40
    assert _told(listener.listen(_blocks(samples, size))) == expected
    assert listener.statistics.heard_seconds == pytest.approx(len(samples) / 16_000)


def test_two_voices_are_told_apart(bundle: Bundle, tmp_path: Path) -> None:
    listened = _edge_lupi("listen", "--input", str(TWO_VOICES), "--json", home=tmp_path)
    assert listened.returncode == 0, listened.stderr
    command = [sys.executable, EXAMPLES / "agreement.py", EXAMPLES / "two_voices.rttm", "--least", "0.9"]
    judged = subprocess.run(command, input=listened.stdout, capture_output=True)
    assert judged.returncode == 0, judged.stdout.decode()


def test_a_gap_is_counted_and_not_bridged(bundle: Bundle, samples: np.ndarray) -> None:
    lost = 800
    before, after = samples[:32_000], samples[32_000 + lost : 96_000]
    blocks = [Block(before, 0.0), Block(after, 0.0, dropped=lost, gap=True)]
    events = list(Listener(bundle).listen(blocks))
    assert events[-1].dropped == lost
    assert all(event.time <= 2.0 or event.start >= 2.05 or event.time - event.start > 1.0 for event in events)
    assert any(abs(event.time % 0.5 - 0.05) < 1e-6 for event in events)


def test_what_is_shorter_than_a_segment_is_heard_too(bundle: Bundle, samples: np.ndarray) -> None:
    (event,) = Listener(bundle).listen(_blocks(samples[16_000:28_000], 1600))
    assert (event.label, event.time) == ("unknown", 0.75)


def test_a_pipe_gives_what_the_file_gives(bundle: Bundle, tmp_path: Path) -> None:
    raw = soundfile.read(TWO_VOICES, dtype="int16")[0].astype("<i2").tobytes()
    piped = _edge_lupi("listen", "--input", "-", "--json", home=tmp_path, stdin=raw)
    filed = _edge_lupi("listen", "--input", str(TWO_VOICES), "--json", home=tmp_path)
    assert [json.loads(line)["label"] for line in piped.stdout.splitlines()] == [
        json.loads(line)["label"] for line in filed.stdout.splitlines()
    ]
    assert b"dropped 0 samples" in piped.stderr


def test_an_enrolled_voice_is_called_by_name_after_a_restart(
    bundle: Bundle, samples: np.ndarray, tmp_path: Path
) -> None:
    inputs: list[str] = []
    rows = [line.split() for line in (EXAMPLES / "two_voices.rttm").read_text().splitlines()]
    for number, row in enumerate([row for row in rows if row[7] == "low"][:2]):
        start, length = round(float(row[3]) * 16_000), round(float(row[4]) * 16_000)
        soundfile.write(tmp_path / f"{number}.wav", samples[start : start + length], 16_000)
        inputs += ["--input", str(tmp_path / f"{number}.wav")]
    enrolled = _edge_lupi("enroll", "Lou", *inputs, home=tmp_path)
    assert enrolled.returncode == 0, enrolled.stderr
    listened = _edge_lupi("listen", "--input", str(TWO_VOICES), home=tmp_path)
    labels = {line.split(" s  ")[1].split("  ")[0] for line in listened.stdout.decode().splitlines()}
    assert labels - {"unknown"} == {"Lou", "speaker 1"}


def test_enrolment_refuses_too_little_and_too_quiet_speech(bundle: Bundle, samples: np.ndarray) -> None:
    student = CompiledStudent(bundle)
    for kept, reason in (
        (samples[:40_000], "too short"),
        (samples * 0.005, "nobody spoke"),
        (samples * 0, "nobody spoke"),
    ):
        enrolment = Enrolment(student)
        enrolment.hear(_blocks(kept, 1600))
        with pytest.raises(InputError, match=reason):
            enrolment.exemplars()


def test_enrolment_says_how_far_along_it_is(bundle: Bundle, samples: np.ndarray) -> None:
    enrolment, told = Enrolment(CompiledStudent(bundle)), list[float]()
    one_voice = np.tile(samples[round(0.5 * 16_000) : round(3.9 * 16_000)], 3)
    enrolment.hear(_blocks(one_voice, 1600), enough_seconds=8.0, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 100
    assert 8.0 <= enrolment.speech_seconds < 9.0
    exemplars = enrolment.exemplars()
    assert exemplars.shape[0] == 2
    np.testing.assert_allclose(np.linalg.norm(exemplars, axis=1), 1, atol=1e-5)


def test_a_store_of_another_student_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "edge-lupi" / "speakers.json", "another")
    gallery.add("a", unit(np.ones(8, np.float32))[None])
    gallery.save()
    refused = _edge_lupi("listen", "--input", str(TWO_VOICES), home=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert b"another student" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize("threshold", ["nan", "0", "1.5"])
def test_a_threshold_that_is_no_cosine_is_one_sentence(bundle: Bundle, tmp_path: Path, threshold: str) -> None:
    refused = _edge_lupi("listen", "--threshold", threshold, "--input", str(TWO_VOICES), home=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert b"expected a" in refused.stderr
    assert b"threshold" in refused.stderr


@pytest.mark.parametrize("content", [None, b"", b"this is no sound", np.zeros(10, "<i2").tobytes()])
def test_what_is_no_sound_is_one_sentence(bundle: Bundle, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "input.wav"
    if content is not None:
        path.write_bytes(content)
    refused = _edge_lupi("listen", "--input", str(path), home=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert refused.stderr.startswith(b"edge-lupi: expected")
    assert len(refused.stderr.splitlines()) == 1


def test_a_paced_file_costs_less_than_its_time(bundle: Bundle, samples: np.ndarray, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", samples[:64_000], 16_000)
    listener = Listener(bundle)
    events = list(listener.listen(SoundFile(tmp_path / "short.wav", paced=True)))
    assert events
    assert max(event.latency_ms for event in events) < 500
    assert listener.statistics.segments == 7
