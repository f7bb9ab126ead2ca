"""What is printed: nothing steers a terminal, nothing breaks a line, nothing fails for want of a letter."""

import ast
import errno
import io
import json
import logging
import math
import subprocess
import sys
from pathlib import Path

import pytest

from edge_lupi import terminal
from edge_lupi.errors import InputError
from edge_lupi.events import Event
from edge_lupi.progress import progress

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


class Screen(io.StringIO):
    """As a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_fits_its_line_and_what_comes_next_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "20")
    terminal.progress("93 % of the speech needed", last=False)
    assert screen.getvalue() == "\r\x1b[K93 % of the speech "
    terminal.note("done")
    terminal.note("and more")
    assert screen.getvalue().endswith("speech \r\x1b[Kdone\nand more\n")


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
    """Whether it calls `print`, Typer's `echo`, or writes to a standard stream itself."""
    calls = [node.func for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    by_name = any(isinstance(call, ast.Name) and call.id == "print" for call in calls)
    methods = [call for call in calls if isinstance(call, ast.Attribute)]
    return by_name or any(
        call.attr in ("echo", "secho") or ast.unparse(call) in ("sys.stdout.write", "sys.stderr.write")
        for call in methods
    )


def test_everything_is_printed_through_the_one_place(tmp_path: Path) -> None:
    assert [str(path.relative_to(PACKAGE)) for path in sorted(PACKAGE.rglob("*.py")) if _prints(path)] == []
    for number, line in enumerate(["print(1)", "typer.echo(1)", "sys.stderr.write('1')"]):
        (tmp_path / f"{number}.py").write_text(line)
        assert _prints(tmp_path / f"{number}.py")


LOG = logging.getLogger("edge_lupi.anything")


def test_what_the_library_logs_is_said_beside_a_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.log_shown(), terminal.log_shown():
        LOG.debug("not for people")
        LOG.info("100 %d are left out")
        LOG.warning("no microphone \x1b")
        progress(LOG, "step 1", often=True)
        progress(LOG, "epoch 1/2", last=False)
    wanted = "100 %d are left out\nedge-lupi: no microphone \\x1b\nepoch 1/2\n"
    assert capsys.readouterr() == ("", wanted)


def test_a_program_decides_itself_what_it_shows() -> None:
    """Without handlers of its own it sees warnings, as of every library; the package has set up nothing."""
    code = (
        "import logging\nimport edge_lupi.runtime.listening.listener\nlog = logging.getLogger('edge_lupi.anything')\n"
    )
    code += "log.info('a note')\nlog.warning('a warning')\nassert not logging.getLogger('edge_lupi').handlers"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "a warning\n")


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
    with terminal.log_shown():
        progress(LOG, "step 7", last=False, often=True)
    assert shown.getvalue().endswith("\r\x1b[Kstep 7")
