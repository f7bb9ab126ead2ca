"""The net under the verbs: closed and full streams, locales, whatever an exception's kind; one sentence and an exit code."""

import errno
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

import edge_lupi
from edge_lupi.bundle.bundle import shipped_bundle
from edge_lupi.entry import run
from edge_lupi.errors import InputError

TWO_VOICES = Path(__file__).resolve().parents[1] / "examples" / "two_voices.flac"
COMMAND = f"{sys.executable} -m edge_lupi.cli"
Cli = Callable[..., CompletedProcess[str]]


def _raising(error: BaseException) -> Callable[..., Any]:
    def command(standalone_mode: bool) -> None:
        raise error

    return command


FAULTS = [
    (InputError("expected a, got b: do c"), 1, "edge-lupi: expected a, got b: do c"),
    (OSError(errno.ENOSPC, "No space left on device", "/x/y"), 1, "/x/y cannot be read or written (No space left on device): free some space"),
    (OSError(errno.EACCES, "Permission denied", "/x"), 1, "check its permissions"),
    (OSError(errno.ENAMETOOLONG, "File name too long", "a\x1b"), 1, r"a\x1b cannot be read"),
    (OSError(errno.EIO, "Input/output error"), 1, "Input/output error"),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), 1, "another encoding"),
    (UnicodeEncodeError("ascii", "\ud800", 0, 1, "surrogates not allowed"), 1, "another encoding"),
    (MemoryError(), 1, "not enough memory"),
    (RecursionError("maximum recursion depth exceeded"), 1, "nested too deeply"),
    (OverflowError("int too large to convert to float"), 1, "a number is too large"),
    (ImportError("libx.so: no such file"), 1, "a library cannot be loaded"),
    (KeyboardInterrupt(), 130, "stopped"),
    (ZeroDivisionError("division by zero"), 1, "a fault of edge-lupi itself (ZeroDivisionError: division by zero): please report it"),
    (ValueError("two\nlines"), 1, "(ValueError: two)"),
    (BrokenPipeError(errno.EPIPE, "Broken pipe"), 0, ""),
]  # fmt: skip


@pytest.mark.parametrize(("error", "code", "words"), FAULTS, ids=lambda value: type(value).__name__)
def test_whatever_is_raised_is_one_sentence(
    error: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(_raising(error)) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert said.err.count("\n") == bool(words)


def test_where_it_came_from_is_shown_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGE_LUPI_DEBUG", "1")
    assert run(_raising(KeyError("x"))) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "Traceback (most recent call last):"
    assert said[-1].startswith("edge-lupi: a fault of edge-lupi itself (KeyError")


def _shell(line: str, home: Path, **environment: str) -> CompletedProcess[str]:
    """A line of bash, `edge-lupi` in it, run at home."""
    home.mkdir(exist_ok=True)
    line = f'edge-lupi() {{ {COMMAND} "$@"; }}; {line}'
    root = str(Path(__file__).resolve().parents[1])
    whole = {**os.environ, "PYTHONPATH": root, "HOME": str(home), "OMP_NUM_THREADS": "1", **environment}
    whole.pop("XDG_DATA_HOME", None)
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=120, cwd=home, env=whole)


@pytest.mark.parametrize("words", ["listen --json --input $IN", "listen --input $IN", "inspect", "doctor --json", "listen --help", "--help", "bench --seconds 1"])  # fmt: skip
def test_standard_output_on_a_full_disk(words: str, tmp_path: Path) -> None:
    done = _shell(f"edge-lupi {words} > /dev/full", tmp_path, IN=str(TWO_VOICES))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "No space left on device" in done.stderr


def test_standard_error_on_a_full_disk(tmp_path: Path) -> None:
    done = _shell("edge-lupi listen --json --input $IN 2> /dev/full", tmp_path, IN=str(TWO_VOICES))
    assert done.returncode == 0
    assert all(json.loads(line) for line in done.stdout.splitlines())
    assert _shell("edge-lupi inspect nowhere.lupi 2> /dev/full", tmp_path).returncode == 1


def test_what_is_done_is_said_on_the_other_stream(tmp_path: Path) -> None:
    done = _shell("edge-lupi enroll ann --force --input $IN > /dev/full", tmp_path, IN=str(TWO_VOICES))
    assert done.returncode == 0, done.stderr
    assert "ann: heard" in done.stderr
    assert "ann" in _shell("edge-lupi speakers list", tmp_path).stdout


def test_closed_streams(tmp_path: Path) -> None:
    known = {"IN": str(TWO_VOICES)}
    listened = _shell("edge-lupi listen --input - <&-", tmp_path)
    assert (listened.returncode, listened.stderr.count("\n")) == (1, 1), listened.stderr
    assert "got nothing" in listened.stderr
    heard = _shell("edge-lupi listen --json --input $IN 2>&-", tmp_path, **known)
    assert heard.returncode == 0
    assert heard.stdout
    assert all(json.loads(line) for line in heard.stdout.splitlines())
    assert _shell("edge-lupi listen --json --input nope.wav 2>&-", tmp_path).stdout == ""
    mute = _shell("edge-lupi enroll ann --force --input $IN >&-", tmp_path, **known)
    assert (mute.returncode, mute.stderr.count("\n")) == (1, 1), mute.stderr
    assert "closed" in mute.stderr
    assert list(tmp_path.rglob("*.json")) == []


def test_a_file_of_ours_never_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """What a library prints would land in it."""
    code = "import sys, os; from edge_lupi.entry import run; sys.exit(run(lambda standalone_mode: os.open('f', os.O_CREAT)))"
    done = _shell(f'PYTHONPATH=$PYTHONPATH {sys.executable} -c "{code}" <&- 2>&-', tmp_path)
    assert done.returncode > 2


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_locale_that_lacks_the_letters_of_a_name(encoding: str, tmp_path: Path) -> None:
    known = {"IN": str(TWO_VOICES), "PYTHONIOENCODING": encoding}
    done = _shell("edge-lupi enroll 李雷 --force --input $IN", tmp_path, **known)
    assert done.returncode == 0, done.stderr
    assert r"\u674e\u96f7: heard" in done.stdout
    told = _shell("edge-lupi speakers list --json", tmp_path, **known)
    assert json.loads(told.stdout)["speakers"] == ["李雷"]
    for words in ("speakers list", "speakers show 李雷", "listen --input $IN", "listen --json --input $IN", "speakers remove 李雷"):  # fmt: skip
        done = _shell(f"edge-lupi {words}", tmp_path, **known)
        assert done.returncode == 0, done.stderr
        assert r"\u674e" in done.stdout
        assert "–" not in done.stdout


def test_the_live_view_in_a_terminal_that_is_not_utf8(tmp_path: Path) -> None:
    child, terminal = pty.fork()
    if child == 0:  # pragma: no cover
        os.environ.update(TERM="xterm", PYTHONIOENCODING="latin-1", XDG_DATA_HOME=str(tmp_path), OMP_NUM_THREADS="1")
        os.execv(sys.executable, [sys.executable, "-m", "edge_lupi.cli", "listen", "--input", str(TWO_VOICES)])
    shown = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux's way to say that the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, shown
    assert b"speaker 1" in shown
    assert b"Error" not in shown


def test_an_interrupted_verb_says_so(tmp_path: Path) -> None:
    """While it reads a pipe that nobody writes to."""
    command = [sys.executable, "-c", "from edge_lupi.entry import run; import sys, time; print('up', flush=True); sys.exit(run(lambda standalone_mode: time.sleep(60)))"]  # fmt: skip
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout
    running.stdout.readline()
    time.sleep(0.3)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert (running.returncode, said) == (130, "edge-lupi: stopped\n")


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "9" * 400, "-1"])
@pytest.mark.parametrize("words", ["listen --input $IN --threshold", "listen --input - --rate", "listen --task emotion --input $IN --sure", "bench --seconds", "calibrate x --impostors . --far", "evaluate x --data . --snr-db", "enroll ann --seconds", "listen --input $IN --channels", "listen --device"])  # fmt: skip
def test_numbers_that_are_none(words: str, number: str, cli: Cli, tmp_path: Path) -> None:
    typed = [word.replace("$IN", str(TWO_VOICES)) for word in words.split()]
    done = cli(*typed[:-1], f"{typed[-1]}={number}", env={"HOME": str(tmp_path)})
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "fault of edge-lupi" not in done.stderr
    assert done.stderr.startswith(("edge-lupi: ", "Usage: ")), done.stderr


WITHOUT_RIGHTS = "setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-dac_override,-dac_read_search"


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root may look everywhere")
@pytest.mark.parametrize("words", ["speakers list --gallery", "listen --input $IN --gallery", "inspect", "bench", "compile", "speakers export", "speakers import", "listen --input $IN --rttm", "listen --input", "enroll ann --input", "evaluate x.lupi --data", "calibrate", "calibrate x --impostors", "calibrate x --trials"])  # fmt: skip
@pytest.mark.parametrize("path", ["locked/x", "n" * 300])
def test_paths_that_cannot_be_looked_at(words: str, path: str, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0)
    ours = WITHOUT_RIGHTS if os.geteuid() == 0 else ""
    done = _shell(f"{ours} {COMMAND} {words} {path}", tmp_path, IN=str(TWO_VOICES))
    (tmp_path / "locked").chmod(0o755)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "fault of edge-lupi" not in done.stderr


def test_a_disk_that_may_only_be_read(tmp_path: Path) -> None:
    (tmp_path / "ro").mkdir(mode=0o555)
    ours = WITHOUT_RIGHTS if os.geteuid() == 0 else ""
    for words in ("enroll ann --force --input $IN --gallery ro/g.json", "listen --input $IN --rttm ro/x.rttm"):
        done = _shell(f"{ours} {COMMAND} {words}", tmp_path, IN=str(TWO_VOICES))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.count("\n") == 1, done.stderr
    assert list((tmp_path / "ro").iterdir()) == []


def test_the_module_and_the_version(tmp_path: Path) -> None:
    done = _shell(f"{sys.executable} -m edge_lupi --version", tmp_path)
    assert (done.returncode, done.stdout) == (0, f"edge-lupi {edge_lupi.__version__}\n")
    assert _shell("edge-lupi -h", tmp_path).stdout == _shell("edge-lupi --help", tmp_path).stdout


def test_words_of_a_bundle_cannot_steer_the_terminal(cli: Cli, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(shipped_bundle("speaker"), tmp_path / "mine.lupi"))
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["licence"] = "CC\x1b]0;owned\x07\u009b2J"
    manifest["precision"]["why"] = "one\ntask       speaker (a line of its own)"
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    done = cli("inspect", bundle)
    assert done.returncode == 0, done.stderr
    assert r"licence    CC\x1b]0;owned\x07\x9b2J" in done.stdout
    assert all(line.isprintable() for line in done.stdout.splitlines())
    assert sum(line.startswith("task") for line in done.stdout.splitlines()) == 1
    told = cli("inspect", bundle, "--json")
    assert told.stdout.isascii()
    assert json.loads(told.stdout)["licence"] == manifest["licence"]
    refused = cli("inspect", tmp_path / "\x1b[2J.lupi")
    assert r"\x1b[2J.lupi" in refused.stderr
    assert refused.stderr.count("\n") == 1
