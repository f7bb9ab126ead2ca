"""A command line that is forked says and does what one that is started says and does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.warm import EDGE, Warm


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    one = Warm(EDGE, dict(os.environ))
    yield one
    one.close()


@pytest.mark.parametrize(
    "words",
    [("--version",), ("inspect",), ("sing",), ("inspect", "none.lupi"), ("speakers", "list", "--gallery", "none.json")],
)
def test_the_same_words_and_the_same_code(warm: Warm, tmp_path: Path, words: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "edge_lupi.cli", *words]
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), root]))}
    cold = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    found = warm.run(words, cwd=tmp_path)
    named = cold.stderr.replace("python -m edge_lupi.cli", "edge-lupi")
    assert (found.returncode, found.stdout, found.stderr) == (cold.returncode, cold.stdout, named)


def test_a_run_leaves_nothing_to_the_next(warm: Warm, tmp_path: Path) -> None:
    for home in ("one", "two"):
        said = warm.run(("speakers", "list", "--json"), env={"XDG_DATA_HOME": str(tmp_path / home)}).stdout
        assert str(tmp_path / home) in said


def test_what_takes_too_long_is_ended(warm: Warm) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        warm.run(("inspect",), timeout=0)
    assert warm.run(("--version",)).returncode == 0
