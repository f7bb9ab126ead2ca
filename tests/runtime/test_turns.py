import io

from edge_lupi.events import Event
from edge_lupi.frames import Segmentation
from edge_lupi.runtime.turns import show


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _events() -> list[Event]:
    voices = [(0.0, "speaker 1"), (0.5, "speaker 1"), (1.0, "speaker 2"), (3.0, "speaker 2")]
    return [Event(time=start + 1.0, start=start, task="speaker", label=name, score=0.7) for start, name in voices]


def test_events_become_turns_that_meet_without_overlap() -> None:
    out = io.StringIO()
    show(_events(), Segmentation(), out)
    assert out.getvalue().splitlines() == [
        "   0.25 –    1.25 s  speaker 1    score 0.70",
        "   1.25 –    1.75 s  speaker 2    score 0.70",
        "   3.25 –    3.75 s  speaker 2    score 0.70",
    ]


def test_probabilities_are_called_so() -> None:
    out = io.StringIO()
    show([Event(time=1.0, start=0.0, task="emotion", label="calm", probability=0.5)], Segmentation(), out)
    assert out.getvalue() == "   0.25 –    0.75 s  calm         probability 0.50\n"


def test_a_terminal_has_a_live_line_that_ends_clean() -> None:
    out = Terminal()
    show(_events(), Segmentation(), out)
    assert out.getvalue().count("…") == 4
    assert out.getvalue().endswith("\r\x1b[K   3.25 –    3.75 s  speaker 2    score 0.70\n")


def test_nothing_heard_prints_nothing() -> None:
    out = io.StringIO()
    show([], Segmentation(), out)
    assert out.getvalue() == ""
