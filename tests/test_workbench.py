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
GPU = ROOT / "runtime" / "edge-lupi-gpu.conf"
UNIT = ROOT / "runtime" / "edge-lupi.service"


def test_the_program_is_forty_lines_and_tells_who_spoke() -> None:
    assert len(PROGRAM.read_text().splitlines()) <= 40
    command = [sys.executable, str(PROGRAM), str(ROOT / "examples" / "two_voices.flac")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    seconds = {name: float(value) for name, value in re.findall(r"^(speaker \d+): ([\d.]+) s$", done.stdout, re.M)}
    assert seconds.keys() == {"speaker 1", "speaker 2"}
    assert 30 < sum(seconds.values()) < 37


@pytest.mark.parametrize("with_gpu", [False, True])
def test_the_unit_is_valid_and_closed(tmp_path: Path, with_gpu: bool) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze here")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/edge-lupi/bin/edge-lupi", sys.executable))
    if with_gpu:
        (tmp_path / f"{unit.name}.d").mkdir()
        shutil.copy(GPU, tmp_path / f"{unit.name}.d" / "gpu.conf")
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    for line in ("PrivateNetwork=yes", "Restart=always", "ProtectSystem=strict", "User=edge-lupi"):
        assert line in UNIT.read_text().splitlines()


def test_devices_are_named_one_by_one() -> None:
    """systemd takes wildcards for names of /proc/devices alone; in a path they match nothing, without a word."""
    allowed = re.findall(r"^DeviceAllow=(\S+) rw$", UNIT.read_text() + GPU.read_text(), re.M)
    assert "/dev/nvgpu/igpu0/ctrl" in allowed
    assert [device for device in allowed if "*" in device and device.startswith("/dev/")] == []
    assert len(allowed) == (UNIT.read_text() + GPU.read_text()).count("DeviceAllow=") - 1  # one is in a comment


def test_no_bundle_named_is_no_argument() -> None:
    """As systemd splits an ExecStart line: `${NAME}` is one argument, `$NAME` as many as it has words."""
    line = next(line for line in UNIT.read_text().splitlines() if line.startswith("ExecStart="))
    assert line.endswith("--device ${EDGE_LUPI_DEVICE} $EDGE_LUPI_BUNDLES")


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.jetson"])
def test_what_a_dockerfile_copies_reaches_the_builder(name: str) -> None:
    words = [line.split()[1:-1] for line in (ROOT / "runtime" / name).read_text().splitlines() if line[:5] == "COPY "]
    copied = {word for line in words for word in line if not word.startswith(("--", "/"))}
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == let_in == {"pyproject.toml", "README.md", "LICENSE", "edge_lupi"}
    assert all((ROOT / word).exists() for word in copied)


def test_plain_make_downloads_nothing() -> None:
    """It is what newcomers type first."""
    said = subprocess.run(["make", "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "make demo" in said
    assert "pip install" not in said
