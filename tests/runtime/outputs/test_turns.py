import io
import json
from pathlib import Path

import pytest

from edge_lupi.events import Event
from edge_lupi.frames import Segmentation
from edge_lupi.runtime.outputs.turns import JsonLines, Lines, Output, Teller, Turn, Turns


def _events(stream: str | None = None) -> list[Event]:
    voices = [(0.0, "speaker 1"), (0.5, "speaker 1"), (1.0, "speaker 2"), (3.0, "speaker 2")]
    return [
        Event(time=start + 1.0, start=start, task="speaker", label=name, score=0.7, stream=stream)
        for start, name in voices
    ]


def _told(events: list[Event]) -> list[str]:
    out = io.StringIO()
    with Teller(Segmentation(), [Lines(out)]) as teller:
        for event in events:
            teller.event(event)
    return out.getvalue().splitlines()


def _turns(events: list[Event]) -> list[Turn]:
    turns = Turns(Segmentation())
    return [turn for event in events for turn in turns.push(event)] + turns.finish()


def test_events_become_turns_that_meet_without_overlap() -> None:
    assert _told(_events()) == [
        "   0.25 –    1.25 s  speaker 1    score 0.70",
        "   1.25 –    1.75 s  speaker 2    score 0.70",
        "   3.25 –    3.75 s  speaker 2    score 0.70",
    ]


def test_probabilities_are_called_so() -> None:
    event = Event(time=1.0, start=0.0, task="emotion", label="calm", probability=0.5)
    assert _told([event]) == ["   0.25 –    0.75 s  calm         probability 0.50"]


def test_nothing_heard_prints_nothing() -> None:
    assert _told([]) == []


def test_streams_and_tasks_have_turns_of_their_own() -> None:
    mixed = [event for pair in zip(_events("a"), _events("b"), strict=True) for event in pair]
    assert [turn for turn in _turns(mixed) if turn.stream == "b"] == _turns(_events("b"))
    happy = [Event(time=s + 1, start=s, task="emotion", label="happy", probability=0.9) for s in (0, 0.5, 1, 1.5)]
    both = [event for pair in zip(_events(), happy, strict=True) for event in pair]
    assert [turn.task for turn in _turns(both)].count("emotion") == 1
    assert _told(_events("left"))[0].startswith("left            0.25 –")


def test_what_is_shorter_than_a_hop_still_lasts() -> None:
    (turn,) = _turns([Event(time=0.3, start=0.0, task="speaker", label="unknown", score=0.1)])
    assert (turn.start_seconds, turn.end_seconds) == (0.0, 0.3)


def test_a_turn_ends_in_silence_too() -> None:
    turns = Turns(Segmentation())
    for event in _events("a")[:2]:
        assert turns.push(event) == []
    assert turns.passed("a", 4.0) == turns.passed("b", 9.0) == []
    (turn,) = turns.passed("a", 4.5)
    assert (turn.label, turn.end_seconds) == ("speaker 1", 1.25)
    assert turns.finish() == []


def test_json_is_the_events_and_every_output_gets_all() -> None:
    out, turns = io.StringIO(), list[Turn]()

    class Kept(Output):
        def turn(self, turn: Turn) -> None:
            turns.append(turn)

    with Teller(Segmentation(), [JsonLines(out), Kept()]) as teller:
        for event in _events():
            teller.event(event)
    assert [json.loads(line)["time"] for line in out.getvalue().splitlines()] == [1.0, 1.5, 2.0, 4.0]
    assert turns == _turns(_events())


def test_the_last_turn_is_told_when_listening_breaks_off() -> None:
    def broken_off(out: io.StringIO) -> None:
        with Teller(Segmentation(), [Lines(out)]) as teller:
            teller.event(_events()[0])
            raise OSError("unplugged")

    out = io.StringIO()
    with pytest.raises(OSError, match="unplugged"):
        broken_off(out)
    assert "speaker 1" in out.getvalue()


def test_a_label_cannot_steer_the_terminal() -> None:
    (line,) = _told([Event(time=1.0, start=0.0, task="emotion", label="\x1b]0;owned\x07", probability=0.5)])
    assert r"\x1b]0;owned\x07" in line
    assert line.isprintable()


def test_a_terminal_that_knows_ascii_only_still_gets_its_lines(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="ascii") as out:
        Lines(out).turn(_turns(_events())[0])
    assert (tmp_path / "out").read_text() == "   0.25 -    1.25 s  speaker 1    score 0.70\n"
