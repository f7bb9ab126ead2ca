"""What the library says of an argument, the command line says with the flag to type; a program reads it without."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from edge_lupi.compile.request import Request
from edge_lupi.errors import InputError
from edge_lupi.evaluate.answered import exam_for
from edge_lupi.evaluate.open import open_model
from edge_lupi.train.checkpoint import refuse_other_recipe

Cli = Callable[..., CompletedProcess[str]]


@pytest.fixture
def trained(mood_chain: Any, tmp_path: Path) -> Path:
    """A folder in which the teacher was trained."""
    for name in ("teacher.pt", "teacher.checkpoint"):
        shutil.copy(mood_chain.folder / name, tmp_path / name)
    return tmp_path


def _refused(done: CompletedProcess[str]) -> str:
    """The last line, which says why."""
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr.splitlines()[-1]


def test_no_corpus(cli: Cli, mood_chain: Any, tmp_path: Path) -> None:
    said = _refused(cli("compile", mood_chain.folder / "student.pt", "--trials", "list.txt"))
    with pytest.raises(InputError) as caught:
        Request(trials=Path("list.txt"))
    assert str(caught.value) == (
        "expected data beside the trials, the folder that their paths begin in, got none: name it"
    )
    assert said == f"edge-lupi: {caught.value} (--data)"


def test_a_damaged_checkpoint(cli: Cli, mood_chain: Any, trained: Path) -> None:
    (trained / "teacher.checkpoint").write_bytes(b"no checkpoint")
    said = _refused(cli("train", "teacher", mood_chain.recipe, "--out", trained))
    assert said.endswith("teacher.checkpoint is damaged or no checkpoint: start afresh (--fresh)")


def test_another_checkpoint(cli: Cli, mood_chain: Any, trained: Path) -> None:
    said = _refused(cli("train", "teacher", mood_chain.recipe, "--out", trained, "--set", "seed=9"))
    with pytest.raises(InputError) as caught:
        refuse_other_recipe(trained / "teacher.checkpoint", {"seed": 9})
    assert "--" not in str(caught.value)
    assert said == f"edge-lupi: {caught.value} (--fresh, --out)"


def test_a_full_disk(cli: Cli, mood_chain: Any, tmp_path: Path) -> None:
    """Writes end after 20 kB: errno EFBIG in place of ENOSPC."""
    words = ("train", "teacher", mood_chain.recipe, "--out", tmp_path)
    done = cli(*words, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)))
    assert _refused(done).endswith("free some space and go on, or choose another folder (--out)")
    assert not (tmp_path / "teacher.pt").exists()


def test_nobody_whom_training_has_not_heard(cli: Cli, mood_chain: Any) -> None:
    bundle = mood_chain.folder / "student.lupi"
    said = _refused(cli("evaluate", bundle, "--data", mood_chain.corpus, "--split", "training"))
    with pytest.raises(InputError) as caught:
        exam_for(open_model(bundle), mood_chain.corpus, None, split="training")
    assert "--" not in str(caught.value)
    assert said == f"edge-lupi: {caught.value} (--split, --all)"
