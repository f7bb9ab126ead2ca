"""RTTM written while listening, from a stream that is killed too."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import soundfile

from edge_lupi.errors import InputError
from edge_lupi.metrics.diarisation import diarisation_error
from edge_lupi.rttm import Stretch, read_rttm
from edge_lupi.runtime.outputs.rttm import RttmFile
from edge_lupi.runtime.outputs.turns import Turn

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
TWO_VOICES = EXAMPLES / "two_voices.flac"
Cli = Callable[..., CompletedProcess[str]]


def _turn(label: str = "Anna Maria", stream: str = "", task: str = "speaker") -> Turn:
    return Turn(0.25, 4.25, label, "score", 0.7, task, stream)


def _written(path: Path, inputs: list[str], *turns: Turn) -> list[str]:
    with RttmFile(path, inputs, "speaker") as file:
        for turn in turns:
            file.turn(turn)
    return path.read_text().splitlines()


def test_the_file_is_the_input_without_folder_and_ending(tmp_path: Path) -> None:
    def names(inputs: list[str], *streams: str) -> list[str]:
        lines = _written(tmp_path / "a.rttm", inputs, *(_turn(stream=stream) for stream in streams))
        return [line.split()[1] for line in lines]

    assert names(["calls/monday.wav"], "") == ["monday"]
    assert names(["mic"], "", "0", "1") == ["mic", "mic:0", "mic:1"]
    assert names(["x/a.wav", "-"], "x/a.wav", "-", "x/a.wav:1") == ["a", "stdin", "a:1"]
    assert names(["x/a.wav", "y/a.wav"], "y/a.wav") == ["y/a.wav"]


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    _written(tmp_path / "a.rttm", ["a.wav"], _turn("b"), _turn("c", task="emotion"))
    assert read_rttm(tmp_path / "a.rttm") == {"a": [Stretch(0.25, 4.25, "b")]}


def test_nothing_but_rttm_is_replaced(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("keep me")
    with pytest.raises(InputError, match=r"notes.txt exists and is not named .rttm, so it is left alone"):
        RttmFile(notes, ["mic"], "speaker")
    assert notes.read_text() == "keep me"
    (tmp_path / "old.rttm").write_text("old")
    assert len(_written(tmp_path / "old.rttm", ["mic"], _turn())) == 1
    with pytest.raises(InputError, match="could not write"):
        _written(tmp_path / "nowhere" / "a.rttm", ["mic"], _turn())
    os.mkfifo(tmp_path / "pipe.rttm")
    (tmp_path / "folder.rttm").mkdir()
    for path in (tmp_path / "pipe.rttm" / "a.rttm", notes / "a.rttm"):
        with pytest.raises(InputError, match="no such folder, or no permission"):
            RttmFile(path, ["mic"], "speaker")
    for path in (tmp_path / "pipe.rttm", tmp_path / "folder.rttm", tmp_path / f"{'n' * 300}.rttm"):
        with pytest.raises(InputError, match=r"expected a file to write|cannot be looked at"):
            RttmFile(path, ["mic"], "speaker")


def _small_files_only() -> None:
    """As on a full disk, writes end after 100 bytes, in the middle of a line: errno EFBIG in place of ENOSPC."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))


def test_a_disk_that_fills_up_does_not_end_the_listening(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "a.rttm"
    words = ("listen", "--input", TWO_VOICES, "--rttm", path, "--json")
    done = cli(*words, preexec_fn=_small_files_only, env={"PYTHONDONTWRITEBYTECODE": "1"})
    assert done.returncode == 1
    assert done.stderr.count(f"{path} cannot be written (File too large): listening goes on without it") == 1
    assert done.stderr.count("\n") == 2
    assert [s.label for s in read_rttm(path)["two_voices"]] == ["speaker_1"]
    assert path.read_text().endswith("\n")
    whole = cli(*words)
    assert whole.returncode == 0
    assert len(whole.stdout.splitlines()) == len(done.stdout.splitlines())


def test_two_voices_beside_the_reference(cli: Cli, tmp_path: Path) -> None:
    listened = cli("listen", "--input", TWO_VOICES, "--rttm", tmp_path / "found.rttm", "--json")
    assert listened.returncode == 0, listened.stderr
    (spoken,), (found,) = read_rttm(EXAMPLES / "two_voices.rttm").values(), read_rttm(tmp_path / "found.rttm").values()
    assert diarisation_error(spoken, found).rate < 0.1
    command = [sys.executable, EXAMPLES / "agreement.py", EXAMPLES / "two_voices.rttm", tmp_path / "found.rttm"]
    judged = subprocess.run(command, capture_output=True, text=True)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert "2 labels for 2 speakers" in judged.stdout
    by_events = subprocess.run(command[:3], input=listened.stdout, capture_output=True, text=True)
    assert by_events.stdout.replace("speaker ", "speaker_") == judged.stdout


def test_a_bad_input_leaves_the_file_as_it_was(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.rttm").write_text("as it was")
    refused = cli("listen", "--input", tmp_path / "none.wav", "--rttm", tmp_path / "a.rttm")
    assert refused.returncode == 1
    assert (tmp_path / "a.rttm").read_text() == "as it was"


def test_a_kill_loses_no_turn_that_has_ended(tmp_path: Path) -> None:
    """Two turns and then silence come through a pipe that stays open; the process is killed while it is silent."""
    samples = soundfile.read(TWO_VOICES, dtype="int16", frames=9 * 16_000)[0]
    command = [sys.executable, "-m", "edge_lupi.cli", "listen", "--input", "-", "--rttm", str(tmp_path / "a.rttm")]
    listening = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert listening.stdin
    listening.stdin.write(np.concatenate([samples, np.zeros(6 * 16_000, np.int16)]).astype("<i2").tobytes())
    listening.stdin.flush()
    until = time.monotonic() + 60
    while time.monotonic() < until and _lines(tmp_path / "a.rttm") < 2:
        time.sleep(0.05)
    listening.send_signal(signal.SIGKILL)
    listening.wait()
    listening.stdin.close()
    assert [s.label for s in read_rttm(tmp_path / "a.rttm")["stdin"]] == ["speaker_1", "speaker_2"]


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0
