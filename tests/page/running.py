"""A real `edge-lupi listen --page-at` in a process of its own, on real speech."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
TWO_VOICES = ROOT / "examples" / "two_voices.flac"


class Running:
    """The process, and where its page is. `events` and `said` can be read once it was stopped."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self._process, self._out, self._err = process, out, err
        self.url = self._wait_for(r"the page is at (\S+)")
        parts = urlsplit(self.url)
        self.port, self.token = parts.port or 0, parts.query.removeprefix("token=")

    def wait_for_end(self) -> None:
        """Of the sound; the page stays."""
        self._wait_for(r"(the sound has ended)")

    def stop(self) -> None:
        """As Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)
        assert self._process.wait(20) == 0, self._err.read_text()

    def write(self, data: bytes) -> None:
        """To its standard input."""
        assert self._process.stdin
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def close(self) -> None:
        """The end of its standard input."""
        assert self._process.stdin
        self._process.stdin.close()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._out.read_text().splitlines()]

    @property
    def said(self) -> str:
        return self._err.read_text()

    def _wait_for(self, pattern: str) -> str:
        for _ in range(1200):
            if found := re.search(pattern, self._err.read_text()):
                return found[1]
            try:
                self._process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
            break
        raise AssertionError(self._err.read_text())


@contextmanager
def running(folder: Path, *options: str, sound: Path | str = TWO_VOICES) -> Iterator[Running]:
    """One on a port of its own, with an empty gallery in the folder."""
    verb = [sys.executable, "-m", "edge_lupi.cli", "listen", "--json", "--input", str(sound)]
    places = ["--gallery", str(folder / "people.json")]
    at = [] if "--page-at" in options else ["--page-at", "127.0.0.1:0"]
    out, err = folder / "out.jsonl", folder / "err.txt"
    with out.open("w") as out_file, err.open("w") as err_file:
        process = subprocess.Popen(
            [*verb, *places, *at, *options],
            stdin=subprocess.PIPE,
            stdout=out_file,
            stderr=err_file,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        try:
            yield Running(process, out, err)
        finally:
            process.kill()
            process.wait()
            if process.stdin:
                process.stdin.close()
