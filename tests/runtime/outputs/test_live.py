"""The live view: what a row says at any width, and `listen` in a real pseudo-terminal, ended by Ctrl-C."""

import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import soundfile
from rich.console import Console

from edge_lupi.events import Event
from edge_lupi.runtime.listening.statistics import Progress, Statistics
from edge_lupi.runtime.outputs.live import LiveView, live_view

TWO_VOICES = Path(__file__).resolve().parents[3] / "examples" / "two_voices.flac"
ESCAPE = re.compile(r"\x1b\[\??([0-9;]*)([A-Za-z])")


def _rows(width: int, statistics: Statistics, *events: Event, encoding: str = "utf-8") -> list[str]:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=out, width=width, force_terminal=True, no_color=True, color_system=None)
    view = LiveView(console, lambda: statistics)
    for event in events:
        view.event(event)
    console.print(view)
    out.flush()
    return out.buffer.getvalue().decode(encoding).splitlines()  # type: ignore[attr-defined]


def _statistics(**streams: Progress) -> Statistics:
    found = Statistics(algorithm_seconds=1.53, by_stream={name.strip("_"): heard for name, heard in streams.items()})
    found.compute_ms.append(3.4)
    return found


ALICE = Event(time=9.5, start=8.5, task="speaker", label="alice", score=0.74)
ONE = _statistics(_=Progress(10.0, -30.0, 800))


def test_a_row_says_who_how_sure_how_loud_how_late_and_what_was_lost() -> None:
    (row,) = _rows(100, ONE, ALICE)
    assert re.fullmatch(r"alice +━━━━━━╌╌  0\.74  ━━━━╌╌╌╌  -30 dB  1\.53 s \+ 3 ms  dropped 800", row)


def test_where_only_ascii_is_known_bars_are_ascii() -> None:
    assert "######..  0.74  ####...." in _rows(100, ONE, ALICE, encoding="ascii")[0]


def test_of_two_tasks_a_row_says_who_first_whichever_came_first() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True, no_color=True, color_system=None)
    view = LiveView(console, lambda: ONE, ["speaker", "emotion"])
    for event in (Event(time=9.5, start=8.0, task="emotion", label="happy", probability=0.6), ALICE):
        view.event(event)
    console.print(view)
    assert re.match(r"alice +━+╌+  0\.74  happy +━+╌+  0\.60  ", console.file.getvalue())  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", range(1, 120, 7))
def test_a_row_never_breaks(width: int) -> None:
    both = (ALICE, Event(time=9.5, start=8.5, task="emotion", label="surprised", probability=0.6))
    for statistics in (ONE, _statistics(left=Progress(10.0, -3.0), right=Progress(10.0, -30.0, 10**9))):
        rows = _rows(width, statistics, *both)
        assert len(rows) == len(statistics.by_stream)
        assert all(len(row) <= width for row in rows)


def test_narrow_terminals_keep_what_matters_most() -> None:
    assert [_rows(width, ONE, ALICE)[0].split() for width in (50, 30, 20)] == [
        ["alice", "0.74", "-30", "dB", "dropped", "800"],
        ["alice", "0.74", "-30", "dB"],
        ["alice", "0.74"],
    ]


def test_names_are_whole_and_stand_in_columns() -> None:
    long = Event(time=9.5, start=8.5, task="mood", label="pleasantly surprised", probability=0.61)
    for width in (80, 50, 30):
        assert _rows(width, ONE, ALICE, long)[0].startswith("alice ")
        assert "pleasantly surprised" in _rows(width, ONE, ALICE, long)[0]
    files = _statistics(**{f"recordings/2026-11-27/{name}.wav": Progress(10.0, -20.0) for name in ("hall", "door")})
    assert [row.split("  ")[0].strip() for row in _rows(80, files)] == [
        "...s/2026-11-27/hall.wav",
        "...s/2026-11-27/door.wav",
    ]


@pytest.mark.parametrize(("terminal", "folded"), [("xterm-256color", 1), ("linux", 0)])
def test_a_row_that_the_terminal_folds_leaves_no_ghost(
    terminal: str, folded: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", terminal)
    for name in ("TMUX", "XTERM_VERSION"):
        monkeypatch.delenv(name, raising=False)
    console = Console(
        file=io.StringIO(), width=80, height=24, force_terminal=True, force_interactive=True, no_color=True
    )
    with LiveView(console, lambda: ONE) as view:
        view.event(ALICE)
        view._live.refresh()
        console.width = 50
        said = len(console.file.getvalue())  # type: ignore[attr-defined]
        view._live.refresh()
        once = console.file.getvalue()[said:]  # type: ignore[attr-defined]
        assert once.count("\x1b[1A\x1b[2K") == folded
        view._live.refresh()
        again = console.file.getvalue()[said + len(once) :]  # type: ignore[attr-defined]
        assert again.count("\x1b[1A") == 0


def test_silence_names_nobody_but_still_shows_the_level() -> None:
    (row,) = _rows(100, _statistics(_=Progress(12.0, -58.0)), ALICE)
    assert "alice" not in row
    assert "-58 dB" in row


def test_a_row_for_each_stream_and_a_bound_on_them() -> None:
    event = Event(time=9.5, start=8.5, task="speaker", label="bob", score=0.5, stream="right")
    left, right = _rows(100, _statistics(left=Progress(10.0, -70.0), right=Progress(10.0, -20.0)), event)
    assert left.startswith("left ")
    assert "bob" not in left
    assert right.startswith("right")
    assert "bob" in right
    many = _statistics(**{f"s{n}": Progress(1.0, -20.0) for n in range(50)})
    assert _rows(100, many)[-1].rstrip() == "and 38 more streams"


def test_a_name_cannot_steer_the_terminal() -> None:
    (row,) = _rows(100, ONE, Event(time=9.5, start=8.5, task="emotion", label="\x1b[2J[red]x", probability=0.9))
    assert row.startswith(r"\x1b[2J[red]x")


def test_no_view_where_lines_cannot_be_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    assert live_view(Statistics, Console(file=io.StringIO())) is None
    main, child = pty.openpty()
    with os.fdopen(child, "w") as terminal, os.fdopen(main):
        assert live_view(Statistics, Console(file=terminal)) is not None
        monkeypatch.setenv("TERM", "dumb")
        assert live_view(Statistics, Console(file=terminal)) is None


@dataclass
class _Terminal:
    """A process whose output goes to a pseudo-terminal; `said` is all of it."""

    process: subprocess.Popen[bytes]
    descriptor: int
    said: str = ""

    def read(self, seconds: float = 0.1) -> bool:
        """Take what comes; False at the end."""
        if not select.select([self.descriptor], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.descriptor, 65_536)
        except OSError:  # Linux: the other side is closed
            return False
        self.said += data.decode(errors="replace")
        return bool(data)

    def read_until(self, pattern: str) -> None:
        until = time.monotonic() + 60
        while not re.search(pattern, self.said):
            assert time.monotonic() < until, self.said
            assert self.read(), self.said

    def screen(self) -> list[str]:
        """The lines that are left on the terminal, of what rich and print send: text, line ends, erasing, cursor up."""
        lines, row, column, rest = [""], 0, 0, self.said
        while rest:
            escape = ESCAPE.match(rest)
            if escape:
                count = int(escape[1]) if escape[1].isdecimal() else 1
                if escape[2] == "A":
                    row = max(0, row - count)
                elif escape[2] == "K":
                    lines[row] = "" if escape[1] == "2" else lines[row][:column]
                rest = rest[escape.end() :]
                continue
            character, rest = rest[0], rest[1:]
            if character == "\r":
                column = 0
            elif character == "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            else:
                lines[row] = lines[row][:column].ljust(column) + character + lines[row][column + 1 :]
                column += 1
        return lines


@contextmanager
def _listening(columns: int, **environment: str) -> Iterator[_Terminal]:
    """`listen` to a pipe that stays open after 14 s of two voices; nothing but Ctrl-C ends it."""
    main, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    before = termios.tcgetattr(child)
    command = [sys.executable, "-m", "edge_lupi.cli", "listen", "--input", "-"]
    settings = {"TERM": "xterm-256color", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", **environment}
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES", "CI")}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=child, stderr=child, env={**kept, **settings})
    terminal = _Terminal(process, main)
    try:
        assert process.stdin
        process.stdin.write(soundfile.read(TWO_VOICES, dtype="int16", frames=14 * 16_000)[0].astype("<i2").tobytes())
        process.stdin.flush()
        yield terminal
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, terminal.said
        assert termios.tcgetattr(child) == before
        while select.select([main], [], [], 0)[0] and terminal.read():
            pass
    finally:
        process.kill()
        process.wait()
        if process.stdin:
            process.stdin.close()
        os.close(child)
        os.close(main)


def test_in_a_terminal_turns_scroll_above_the_row_and_ctrl_c_leaves_it_clean() -> None:
    with _listening(columns=90) as terminal:
        terminal.read_until(r"speaker 1 [^\n]*dB[^\n]*1\.53 s \+ \d+ ms[^\n]*dropped 0")
        terminal.read_until(r"8\.25 s  speaker 2")
    assert "\x1b[?1049h" not in terminal.said
    assert terminal.said.rfind("\x1b[?25l") < terminal.said.rfind("\x1b[?25h")
    screen = [line.rstrip() for line in terminal.screen()]
    assert re.findall(r"s  (speaker \d)  ", "\n".join(screen[:3])) == ["speaker 1", "speaker 2", "speaker 1"]
    assert screen[3].startswith("heard 1")
    assert not any("dB" in line for line in screen)
    assert not any(line for line in screen[4:] if not line.endswith("waiting"))


def test_a_narrow_terminal_without_colours() -> None:
    with _listening(columns=30, NO_COLOR="1") as terminal:
        terminal.read_until(r"speaker 1 [^\n]*dB")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", terminal.said)
