"""The rule of conftest.py itself: real recordings are used, counted, and in CI never passed over."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Maker = Callable[..., Any]  # a fixture of conftest.py

TESTS = """
import pytest

def test_reads(data_root):
    assert data_root.is_dir()

@pytest.mark.microphone
def test_listens():
    pytest.skip("no sound server")

def test_other():
    pytest.skip("never mind")

@pytest.mark.real_speech
@pytest.mark.xfail(reason="known")
def test_known():
    assert False
"""


def run(folder: Path, data: Path, ci: str) -> tuple[int, str]:
    shutil.copy(Path(__file__).with_name("conftest.py"), folder)
    (folder / "test_it.py").write_text(TESTS)
    environment = {**os.environ, "CI": ci, "EDGE_LUPI_DATA": str(data)}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", str(folder)]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("ci", "there", "code", "counts"),
    [
        ("true", True, 1, "1 failed, 1 passed, 1 skipped, 1 xfailed"),
        ("", True, 0, "1 passed, 2 skipped, 1 xfailed"),
        ("true", False, 0, "3 skipped, 1 xfailed"),
    ],
)
def test_a_skip_of_real_speech_fails_where_ci_has_the_recordings(
    tmp_path: Path, ci: str, there: bool, code: int, counts: str
) -> None:
    data = tmp_path / "data"
    if there:
        data.mkdir()
    returned, output = run(tmp_path, data, ci)
    assert returned == code, output
    assert counts in output
    assert f"{int(there)} tests ran on real speech" in output


def test_a_voice_is_its_seed(voice: Maker) -> None:
    one, again, other = voice(1, 0.5), voice(1, 0.5), voice(2, 0.5)
    assert one.shape == (8000,)
    assert one.dtype == np.float32
    assert np.abs(one).max() < 0.6
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
