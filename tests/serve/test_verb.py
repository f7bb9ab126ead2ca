"""`edge-lupi serve` from the outside, with the client of examples/: what is said, what is refused, how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_lupi import Listener, SoundFile, shipped_bundle
from edge_lupi.installed import install_command
from tests.serve.serving import ROOT, TWO_VOICES

CLIENT = ROOT / "examples" / "from_a_socket.py"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@contextmanager
def served(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], str, Path]]:
    """The process, its address, and what it says."""
    said = folder / "said.txt"
    verb = [sys.executable, "-m", "edge_lupi.cli", "serve", "--gallery", str(folder / "people.json"), *options]
    with said.open("w") as file:
        process = subprocess.Popen(verb, stderr=file, stdout=file, env=ENVIRONMENT)
    try:
        for _ in range(600):
            if found := re.search(r"serves at http://\S+?:(\d+)/\S*", said.read_text()):
                break
            time.sleep(0.1)
        assert found, said.read_text()
        yield process, f"ws://127.0.0.1:{found[1]}", said
    finally:
        process.kill()
        process.wait()


def client(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(CLIENT), *words], capture_output=True, text=True, timeout=120, env=ENVIRONMENT
    )


def test_a_file_from_the_client(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-token-of-more-than-16-letters\n")
    (tmp_path / "token").chmod(0o600)
    with served(tmp_path, "--at", "0.0.0.0:0", "--token", str(tmp_path / "token")) as (process, at, said):
        refused = client(str(TWO_VOICES), "--at", at)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "expected the token" in refused.stderr
        done = client(str(TWO_VOICES), "--at", at, "--token", str(tmp_path / "token"))
        assert done.returncode == 0, done.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert "heard 36.9 s, " in said.read_text()
        assert "Traceback" not in said.read_text()
    events = list(Listener(shipped_bundle("speaker"), gallery=None).listen(SoundFile(TWO_VOICES)))
    assert [(line["time"], line["label"], line["score"]) for line in map(json.loads, done.stdout.splitlines())] == [
        (event.time, event.label, round(event.score or 0, 4)) for event in events
    ]
    assert json.loads(done.stderr.splitlines()[-1])["type"] == "end"


def run(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    lines = f"{code}\nfrom edge_lupi.cli import main\nmain()"
    return subprocess.run(
        [sys.executable, "-c", lines, "serve", *words], capture_output=True, text=True, timeout=60, env=ENVIRONMENT
    )


def test_without_its_libraries_it_is_one_sentence() -> None:
    gone = "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n, *a: None if n == 'websockets' else f(n, *a)"
    done = run(gone)
    assert done.returncode == 1
    assert done.stderr == f"edge-lupi: edge-lupi serve needs websockets: {install_command('serve')}\n"


def test_an_address_that_is_none_is_one_sentence() -> None:
    done = run("", "--at", "example.org")
    assert done.returncode == 1
    assert done.stderr.startswith("edge-lupi: expected an address as 127.0.0.1:8765")
    assert "write it so (--at)" in done.stderr
    assert done.stderr.count("\n") == 1
