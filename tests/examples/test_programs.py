"""The short programs of examples/ are short, and say of real speech what the library says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_lupi import Listener, SoundFile, shipped_bundle

EXAMPLES = Path(__file__).parents[2] / "examples"
PROGRAMS = ("from_a_callback.py", "from_a_file.py")
# PortAudio's part of the program: what a microphone would give, from a recording
SOUNDDEVICE = """
import os
import soundfile


class InputStream:
    def __init__(self, rate_hz, block_samples, channels, callback):
        self._blocks = list(soundfile.blocks(os.environ["SOUND"], block_samples, dtype="float32", always_2d=True))
        assert (soundfile.info(os.environ["SOUND"]).samplerate, channels) == (rate_hz, 1)
        self._callback = callback

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    @property
    def active(self):
        if self._blocks:
            block = self._blocks.pop(0)
            self._callback(block, len(block), None, None)
            return True
        return False
"""


@pytest.fixture(scope="module")
def recording(data_root: Path) -> Path:
    return sorted((data_root / "librispeech_excerpts" / "audio").glob("*/*.flac"))[0]


def _run(program: str, *words: Path, **environment: str) -> list[str]:
    command = [sys.executable, EXAMPLES / program, *words]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_has_at_most_15_lines(program: str) -> None:
    assert len((EXAMPLES / program).read_text().splitlines()) <= 15


def test_blocks_from_a_callback_say_what_the_file_says(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "sounddevice.py").write_text(SOUNDDEVICE)
    path = os.pathsep.join([str(tmp_path), str(EXAMPLES.parent)])
    lines = _run(PROGRAMS[0], SOUND=str(recording), PYTHONPATH=path, XDG_DATA_HOME=str(tmp_path))
    events = list(Listener(shipped_bundle("speaker"), gallery=None).listen(SoundFile(recording)))
    assert len(events) > 10
    assert [(line["time"], line["label"], line["score"]) for line in map(json.loads, lines)] == [
        (event.time, event.label, pytest.approx(event.score, abs=1e-4)) for event in events
    ]


def test_events_of_a_file_are_iterated(recording: Path, tmp_path: Path) -> None:
    lines = _run(PROGRAMS[1], recording, PYTHONPATH=str(EXAMPLES.parent), XDG_DATA_HOME=str(tmp_path))
    assert {line.split()[4] for line in lines} == {"speaker", "emotion"}
    assert {" ".join(line.split()[5:]) for line in lines if " speaker " in line} == {"speaker 1"}
