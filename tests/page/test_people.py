"""Names given and taken while somebody is heard: real speech, the tracker's own memory, the file and the events."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

from edge_lupi import Event, Listener, SoundFile, shipped_bundle
from edge_lupi.bundle.bundle import Bundle
from edge_lupi.errors import InputError
from edge_lupi.page.between import MOST_WAITING, Between
from edge_lupi.page.enrolling import Enrolling
from edge_lupi.page.output import PageOutput
from edge_lupi.page.people import People
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.speakers.gallery import Gallery

TWO_VOICES = Path(__file__).resolve().parents[2] / "examples" / "two_voices.flac"


class Run:
    """A listener over two voices, block by block, with the people of a file."""

    def __init__(self, path: Path, **settings: Any) -> None:
        bundles = [shipped_bundle("speaker"), shipped_bundle("emotion")]
        listener = Listener(bundles, gallery=None)
        gallery = Gallery.load(path, listener.ears[0].bundle.fingerprint)
        listening = Listener(bundles, gallery=gallery, **settings).begin()
        self.output = PageOutput()
        self.people = People(gallery, listening, self.output, Lock())
        self._listening = listening
        self._blocks: Iterator[Block] = iter(SoundFile(TWO_VOICES))
        self._stack = ThreadPoolExecutor(1)

    def hear(self, seconds: float) -> list[Event]:
        """The events about so much more sound."""
        events = list[Event]()
        heard_seconds = 0.0
        for block in self._blocks:
            heard = self._listening.push(block)
            for event in heard:
                self.output.event(event)
            events += heard
            self.output.passed("", 0.0)
            heard_seconds += len(block.samples) / 16_000
            if heard_seconds >= seconds:
                return events
        return events + self._listening.finish()

    def asked(self, change: Any, *words: str) -> str:
        """A change from another thread, as pages ask for it, while the listener goes on."""
        future = self._stack.submit(change, *words)
        while not future.done():
            self.output.passed("", 0.0)
        self.output.passed("", 0.0)
        return future.result()


def speakers(events: list[Event]) -> list[str]:
    return [event.label for event in events if event.task == "speaker"]


def said(run: Run) -> str:
    """All that pages are told."""
    return "\n".join(message.text for message in run.output.history.since(0).messages)


@pytest.mark.parametrize("latency", ["normal", "low"])
def test_a_number_gets_a_name(tmp_path: Path, latency: str) -> None:
    run = Run(tmp_path / "people.json", latency=latency)
    assert set(speakers(run.hear(19))) - {"unknown"} == {"speaker 1", "speaker 2"}
    assert run.asked(run.people.name, "speaker 2", "bob") == "speaker 2 is bob from now on"
    assert run.people.names == ["bob"]
    assert Gallery.load(tmp_path / "people.json").names == ["bob"]
    later = speakers(run.hear(60))
    assert set(later) - {"unknown"} == {"speaker 1", "bob"}
    again = Run(tmp_path / "people.json", latency=latency)
    assert set(speakers(again.hear(60))) - {"unknown"} == {"speaker 1", "bob"}


def test_a_voice_of_the_turn_that_goes_on(tmp_path: Path) -> None:
    """Speaker 1 has not ended a turn yet when named."""
    run = Run(tmp_path / "people.json")
    assert set(speakers(run.hear(4.0))) == {"speaker 1"}
    assert run.asked(run.people.name, "speaker 1", "ann") == "speaker 1 is ann from now on"
    assert set(speakers(run.hear(60))) - {"unknown"} == {"ann", "speaker 2"}


def test_who_is_forgotten_has_a_number_again(tmp_path: Path) -> None:
    run = Run(tmp_path / "people.json")
    run.hear(19)
    run.asked(run.people.name, "speaker 2", "bob")
    run.hear(8)
    assert "bob" in said(run)
    assert run.asked(run.people.forget, "bob") == "bob is forgotten"
    assert "bob" not in said(run)  # nor in what pages are told of what was before
    assert run.people.names == []
    assert Gallery.load(tmp_path / "people.json").names == []
    assert "bob" not in speakers(run.hear(60))


def test_what_cannot_be_named(tmp_path: Path) -> None:
    run = Run(tmp_path / "people.json")
    run.hear(19)
    refused = [
        (("speaker 9", "bob"), "expected somebody who has a number"),
        (("unknown", "bob"), "expected somebody who has a number"),
        (("speaker 1", "speaker 3"), "expected a name of"),
        (("speaker 1", ""), "expected a name of"),
        (("speaker 1", "bob", "another stream"), "expected somebody who has a number"),
    ]
    for words, sentence in refused:
        with pytest.raises(InputError, match=sentence):
            run.asked(run.people.name, *words)
    run.asked(run.people.name, "speaker 1", "bob")
    with pytest.raises(InputError, match="expected a name that nobody has yet"):
        run.asked(run.people.name, "speaker 2", "bob")
    with pytest.raises(InputError, match="expected a speaker that"):
        run.asked(run.people.forget, "carol")
    assert Gallery.load(tmp_path / "people.json").names == ["bob"]


def test_too_little_of_a_voice(tmp_path: Path) -> None:
    run = Run(tmp_path / "people.json")
    while "speaker 1" not in speakers(run.hear(0.1)):
        pass
    with pytest.raises(InputError, match="expected at least 3 s of speech of speaker 1"):
        run.asked(run.people.name, "speaker 1", "bob")


def test_two_voices_are_not_enrolled_as_one(tmp_path: Path) -> None:
    bundle = Bundle.load(shipped_bundle("speaker"))
    enrolling, gallery = Enrolling(bundle), Gallery(tmp_path / "people.json", bundle.fingerprint)
    with ThreadPoolExecutor(1) as other:
        future = other.submit(enrolling.enroll, "Ann", gallery, "")
        while enrolling.percent is None:
            time.sleep(0.01)
        with pytest.raises(InputError, match="one enrolment at a time"):
            enrolling.enroll("Bob", gallery, "")
        heard = sum(len(block.samples) for block in enrolling.handing_on(SoundFile(TWO_VOICES)))
        with pytest.raises(InputError, match="expected one voice"):
            future.result(60)
    assert heard > 36 * 16_000
    assert enrolling.percent is None
    assert not (tmp_path / "people.json").exists()


def test_a_queue_that_is_full_ends_the_enrolment_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_lupi.page.enrolling.MOST_BLOCKS", 2)
    bundle = Bundle.load(shipped_bundle("speaker"))
    enrolling, gallery = Enrolling(bundle), Gallery(tmp_path / "people.json", bundle.fingerprint)
    with ThreadPoolExecutor(1) as other:
        future = other.submit(enrolling.enroll, "Ann", gallery, "")
        while enrolling.percent is None:
            time.sleep(0.01)
        heard = sum(len(block.samples) for block in enrolling.handing_on(SoundFile(TWO_VOICES)))
        with pytest.raises(InputError, match="too slow to enrol"):
            future.result(60)
    assert heard > 36 * 16_000


def test_without_sound_nobody_waits_for_long() -> None:
    between = Between(patience_seconds=0.05)
    for _ in range(2 * MOST_WAITING):
        with pytest.raises(InputError, match="hears no sound"):
            between.ask(lambda: None)
    done = list[int]()
    for number in range(MOST_WAITING):
        between.tell(lambda number=number: done.append(number))  # type: ignore[misc]
    with pytest.raises(InputError, match="changes wait"):
        between.tell(lambda: None)
    between.run()
    assert done == list(range(MOST_WAITING))
