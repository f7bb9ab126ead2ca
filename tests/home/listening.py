"""A real `edge-lupi listen --mqtt` in a process of its own, that hears real speech at a microphone's pace on standard input."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import soundfile

ROOT = Path(__file__).resolve().parents[2]
TWO_VOICES = ROOT / "examples" / "two_voices.flac"
BLOCK_SAMPLES = 1_600


class Listening:
    """The process; `said` is its standard error until now."""

    def __init__(self, process: subprocess.Popen[bytes], err: Path, speed: float) -> None:
        self.process, self._err = process, err
        self._thread = threading.Thread(target=self._speak, args=(speed,), daemon=True)
        self._thread.start()

    @property
    def said(self) -> str:
        return self._err.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """As Ctrl-C does; gives the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(20)

    def _speak(self, speed: float) -> None:
        samples, _ = soundfile.read(TWO_VOICES, dtype="int16")
        pipe = self.process.stdin
        assert pipe
        with suppress(OSError, ValueError):
            for start in range(0, len(samples), BLOCK_SAMPLES):
                pipe.write(samples[start : start + BLOCK_SAMPLES].tobytes())
                pipe.flush()
                time.sleep(BLOCK_SAMPLES / 16_000 / speed)
            pipe.close()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@contextmanager
def listening(folder: Path, *options: str, speed: float = 1.0) -> Iterator[Listening]:
    err = folder / f"err-{time.monotonic_ns()}.txt"
    verb = [sys.executable, "-m", "edge_lupi.cli", "listen", "--json", "--input", "-", "--rate", "16000"]
    verb += ["--gallery", str(folder / "people.json")]
    with err.open("w") as file:
        process = subprocess.Popen(
            [*verb, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=file,
            cwd=ROOT,
            env=environment(),
        )
        try:
            yield Listening(process, err, speed)
        finally:
            process.kill()
            process.wait()
            if process.stdin:
                with suppress(OSError):
                    process.stdin.close()


@cache
def both_voices() -> Path:
    """The example's first 14 s, in which both its voices speak."""
    folder = Path(tempfile.mkdtemp(prefix="edge-lupi-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    samples, rate_hz = soundfile.read(TWO_VOICES, dtype="int16", frames=14 * 16_000)
    soundfile.write(folder / "both.wav", samples, rate_hz)
    return folder / "both.wav"


def listen_to_file(*options: str | Path, code: str = "") -> subprocess.CompletedProcess[str]:
    """To both voices, as fast as it goes."""
    run = f"{code}\nfrom edge_lupi.cli import main\nmain()"
    words = [sys.executable, "-c", run, "listen", "--json", "--input", str(both_voices()), *map(str, options)]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, env=environment(), cwd=ROOT)
