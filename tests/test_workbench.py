"""runtime/: the forty-line program runs, and the unit is one that systemd takes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = ROOT / "runtime" / "who_speaks.py"
UNIT = ROOT / "runtime" / "edge-lupi.service"


def test_the_program_is_forty_lines_and_tells_who_spoke() -> None:
    assert len(PROGRAM.read_text().splitlines()) <= 40
    command = [sys.executable, str(PROGRAM), str(ROOT / "examples" / "two_voices.flac")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    seconds = {name: float(value) for name, value in re.findall(r"^(speaker \d+): ([\d.]+) s$", done.stdout, re.M)}
    assert seconds.keys() == {"speaker 1", "speaker 2"}
    assert 30 < sum(seconds.values()) < 37


def test_the_unit_is_valid_and_closed(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze here")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/edge-lupi/bin/edge-lupi", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    for line in ("PrivateNetwork=yes", "Restart=always", "ProtectSystem=strict", "User=edge-lupi"):
        assert line in UNIT.read_text().splitlines()
