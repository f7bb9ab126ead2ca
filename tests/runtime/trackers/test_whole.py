"""An utterance as one voice, on real speech: two people who take turns in the example that comes with the repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge_lupi import Block, Gallery, Listener, shipped_bundle
from edge_lupi.bundle.bundle import Bundle
from edge_lupi.events import Event
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.enrolment.enrolment import Enrolment

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "two_voices.flac"


def stretch(start: float, seconds: float) -> np.ndarray:
    return np.asarray(
        soundfile.read(EXAMPLE, dtype="float32", start=round(start * 16_000), frames=round(seconds * 16_000))[0]
    )


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load(shipped_bundle("speaker"))


@pytest.fixture(scope="module")
def gallery(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    """Of the low voice."""
    enrolment = Enrolment(CompiledStudent(bundle, "speaker"))
    enrolment.hear([Block(stretch(28.04, 4.85))])
    found = Gallery(tmp_path_factory.mktemp("gallery") / "people.json", bundle.fingerprint)
    found.add("alice", enrolment.exemplars())
    return found


def events(listener: Listener, samples: np.ndarray, size: int) -> list[Event]:
    listening = listener.begin(one_voice=True)
    blocks = [samples[start : start + size] for start in range(0, len(samples), size)]
    return [event for block in blocks for event in listening.push(Block(block))] + listening.finish()


def test_parts_joined_equal_the_whole(bundle: Bundle, gallery: Gallery) -> None:
    samples, listener = stretch(0.0, 3.9), Listener(bundle, gallery=gallery)
    whole = [(event.time, event.start, event.label, event.score) for event in events(listener, samples, len(samples))]
    for size in (137, 1_600, 16_001):
        assert [(one.time, one.start, one.label, one.score) for one in events(listener, samples, size)] == whole
    assert whole[-1][2] == "alice"


def test_every_event_is_about_all_of_it(bundle: Bundle, gallery: Gallery) -> None:
    """From the first word on; the voice of two together is between theirs."""
    listener = Listener(bundle, gallery=gallery)
    low, high = stretch(0.5, 3.39), stretch(4.39, 4.43)
    alice, stranger, both = (
        events(listener, samples, 1_600)[-1] for samples in (low, high, np.concatenate([low, high]))
    )
    assert (alice.label, stranger.label) == ("alice", "unknown")
    assert stranger.score < both.score < alice.score
    assert both.start < 0.2
    assert both.time > 7.0


def test_nobody(bundle: Bundle, gallery: Gallery) -> None:
    listener = Listener(bundle, gallery=None)
    assert events(listener, np.zeros(48_000, np.float32), 1_600) == []
    assert {(event.label, event.score) for event in events(listener, stretch(0.5, 3.39), 1_600)} == {("unknown", 0.0)}
