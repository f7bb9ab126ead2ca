"""A process counts the cores that it may use, not those that the machine has."""

import subprocess
import sys
from pathlib import Path

import pytest

from edge_lupi.cores import usable_cores

PACKAGE = Path(__file__).resolve().parents[1] / "edge_lupi"
PINNED = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); from edge_lupi.cores import usable_cores; print(usable_cores())"


@pytest.mark.skipif(sys.platform != "linux", reason="pins a process as Linux does")
def test_a_pinned_process_has_one_core() -> None:
    assert int(subprocess.run([sys.executable, "-c", PINNED], capture_output=True, text=True, check=True).stdout) == 1
    assert usable_cores() >= 1


def test_nobody_counts_the_machines_cores_to_start_threads() -> None:
    counting = [path.name for path in PACKAGE.rglob("*.py") if "os.cpu_count()" in path.read_text()]
    assert sorted(counting) == ["cores.py", "processor.py"]  # the latter tells what machine it is
