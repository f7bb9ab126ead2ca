"""What is printed: nothing steers a terminal, nothing breaks a line, nothing fails for want of a letter."""

import ast
import errno
import io
import json
import math
from pathlib import Path

import pytest

from edge_lupi import terminal
from edge_lupi.errors import InputError
from edge_lupi.events import Event

PACKAGE = Path(__file__).resolve().parents[1] / "edge_lupi"
HOSTILE = "\x1b]0;owned\x07\u009b2J\u202e\ud800\nnext"


def test_words_from_outside_stay_words(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say(HOSTILE, "李雷 and Zoë")
    terminal.note(HOSTILE)
    said = capsys.readouterr()
    assert said.out == r"\x1b]0;owned\x07\x9b2J\u202e\ud800\nnext" + "\n李雷 and Zoë\n"
    assert said.err == r"\x1b]0;owned\x07\x9b2J\u202e\ud800\nnext" + "\n"


def test_json_is_ascii_and_knows_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say_json({"label": HOSTILE, "values": [1.5, math.nan, (math.inf,)]})
    line = capsys.readouterr().out
    assert line.isascii()
    assert line.count("\n") == 1
    assert json.loads(line) == {"label": HOSTILE, "values": [1.5, None, [None]]}


def test_an_event_is_ascii_and_knows_no_nan() -> None:
    line = Event(time=1.0, start=0.0, task="emotion", label="李\x1b", probability=math.nan).to_json()
    assert line.isascii()
    assert line.isprintable()
    assert "NaN" not in line
    assert json.loads(line)["label"] == "李\x1b"
    assert "probability" not in json.loads(line)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_letters_that_an_encoding_lacks_are_escaped(encoding: str) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    terminal.make_encodable(out)
    terminal.write_line(out, "李 1 – 2")
    assert out.buffer.getvalue().decode(encoding) in ("\\u674e 1 - 2\n", "\\u674e 1 – 2\n")  # type: ignore[attr-defined]


class Full(io.StringIO):
    """As /dev/full."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_output_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdout", Full())
    with pytest.raises(InputError, match="No space left on device"):
        terminal.say("lost")
    terminal.say_done("ann is kept")
    assert capsys.readouterr().err == "ann is kept\n"
    monkeypatch.setattr("sys.stdout", None)
    with pytest.raises(InputError, match="closed"):
        terminal.say("lost")


def test_a_note_that_nobody_reads_is_lost(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for nobody in (Full(), None):
        monkeypatch.setattr("sys.stderr", nobody)
        terminal.note("lost")
    assert capsys.readouterr().out == ""


def _prints(path: Path) -> bool:
    calls = [node.func for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    by_name = any(isinstance(call, ast.Name) and call.id == "print" for call in calls)
    return by_name or any(isinstance(call, ast.Attribute) and call.attr in ("echo", "secho") for call in calls)


def test_everything_is_printed_through_the_one_place() -> None:
    others = set(PACKAGE.rglob("*.py")) - {PACKAGE / "terminal.py"}
    assert [str(path.relative_to(PACKAGE)) for path in sorted(others) if _prints(path)] == []
    assert _prints(PACKAGE / "terminal.py")


def test_progress_is_a_line_each_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.progress("1 %", last=False)
    terminal.progress("2 \x1b")
    assert capsys.readouterr().err == "1 %\n2 \\x1b\n"


def test_progress_takes_its_own_place_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tty(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Tty()
    monkeypatch.setattr("sys.stderr", shown)
    terminal.progress("1 %", last=False)
    terminal.progress("100 %")
    assert shown.getvalue() == "\r\x1b[K1 %\r\x1b[K100 %\n"
