"""`listen --page` from the outside: what is refused, what is said, how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_lupi.installed import install_command
from tests.page.running import ROOT, TWO_VOICES, running


def listen(*options: str, code: str = "") -> subprocess.CompletedProcess[str]:
    run = f"{code}\nfrom edge_lupi.cli import main\nmain()"
    return subprocess.run(
        [sys.executable, "-c", run, "listen", "--input", str(TWO_VOICES), *options],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


def test_without_its_library_it_is_one_sentence() -> None:
    gone = (
        "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n, *a: None if n == 'uvicorn' else f(n, *a)"
    )
    done = listen("--page", code=gone)
    assert done.returncode == 1
    assert done.stderr == f"edge-lupi: edge-lupi listen --page needs uvicorn: {install_command('serve')}\n"


def test_an_address_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    done = listen("--page-at", "example.org", "--rttm", str(tmp_path / "out.rttm"))
    assert done.returncode == 1
    assert done.stderr.startswith("edge-lupi: expected an address as 127.0.0.1:8765")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out.rttm").exists()


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    with running(tmp_path) as first:
        done = listen("--page-at", f"127.0.0.1:{first.port}", "--rttm", str(tmp_path / "out.rttm"))
        assert done.returncode == 1
        assert "choose another (--page-at)" in done.stderr
        assert "Traceback" not in done.stderr
        first.stop()
        assert len(first.events) > 50


def test_the_base_install_loads_no_server() -> None:
    code = "import atexit, sys; atexit.register(lambda: print(*[name for name in sys.modules if name.startswith(('uvicorn', 'h11', 'edge_lupi.page'))], file=sys.stderr))"
    done = listen("--json", code=code)
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == ""


def test_a_printed_token_is_long_and_new(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    with running(tmp_path, "--page-at", "0.0.0.0:0") as listener:
        assert len(listener.token) >= 32
        listener.wait_for_end()
        listener.stop()
        assert listener.said.count(listener.token) == 1
