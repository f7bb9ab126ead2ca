"""A sweep on a generated corpus: killed and taken up again, its table is that of an unbroken one."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from edge_lupi.errors import InputError
from edge_lupi.models.encoder import SIZES
from edge_lupi.train.examples import learnt
from edge_lupi.train.examples.learnt import inputs_of
from edge_lupi.train.sweep.plan import load_plan
from edge_lupi.train.sweep.run import chosen_arms, chosen_folds

Cli = Callable[..., CompletedProcess[str]]
ARMS = """
[sweep]
reference = "audio"
snr_db = [0.0]
[arms.teacher]
stage = "teacher"
[arms.audio]
[arms.taught]
under = ["teacher"]
[arms.int8]
stage = "qat"
under = ["taught"]
"""


@pytest.fixture(scope="module")
def recipe(mood_chain: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sweep") / "tiny.toml"
    path.write_text(mood_chain.recipe.read_text() + ARMS)
    return path


def run(recipe: Path, folder: Path, *more: str) -> tuple[str, ...]:
    command = (sys.executable, "-m", "edge_lupi.cli", "train", "sweep", str(recipe), "--seeds", "2", "--folds", "test")
    return (*command, "--out", str(folder), "--set", "student.epochs=6", *more)


def without_times(path: Path) -> Any:
    """The results, less how long each took."""
    found = json.loads((path / "results.json").read_text())
    for row in found["summary"]["clean"].values():
        del row["seconds"]
    for row in found["summary"]["0 dB"].values():
        del row["seconds"]
    for row in found["trainings"]:
        del row["seconds"]
    return found


def test_killed_and_given_again_it_tells_the_same(recipe: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    done = subprocess.run(run(recipe, whole), capture_output=True, text=True, check=True)
    assert "8/8 trainings" in done.stderr
    assert "| taught |" in done.stdout

    first = subprocess.Popen(run(recipe, broken), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not list(broken.glob("*/*/audio/*.checkpoint")):  # in the middle of a training
        assert time.monotonic() < until
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    time.sleep(1.5)  # its workers notice
    assert not (broken / "results.json").exists()
    left = len(list(broken.rglob("result.json")))
    again = subprocess.run(run(recipe, broken), capture_output=True, text=True, check=True)
    assert left < 8
    rows = [[line.rsplit("|", 2)[0] for line in told.stdout.splitlines()[:3]] for told in (again, done)]  # less seconds
    assert rows[0] == rows[1]
    assert without_times(broken) == without_times(whole)
    third = subprocess.run(run(recipe, broken), capture_output=True, text=True, check=True)
    assert "8 of 8 trainings are done already" in third.stderr
    assert third.stdout == again.stdout

    found = json.loads((whole / "results.json").read_text())
    assert list(found["summary"]) == ["clean", "0 dB"]
    assert found["summary"]["clean"]["taught"]["distance"] > 0
    assert found["summary"]["clean"]["teacher"]["distance"] is None


def test_what_an_older_version_left_half_done_is_done_anew(recipe: Path, tmp_path: Path) -> None:
    (job,) = load_plan(recipe, ["student.epochs=6"]).jobs(["audio"], ["test"], [0])
    place = tmp_path / job.place
    place.mkdir(parents=True)
    (place / "begun.json").write_text(json.dumps([job.key, {**job.recipe.plain(), "student": {}}]))
    (place / "student.checkpoint").write_bytes(b"of other keys")
    done = subprocess.run((*run(recipe, tmp_path), "--arms", "audio", "--seeds", "1"), capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1/1 trainings" in done.stderr


def test_a_word_of_the_corpus_reaches_nothing_outside(
    recipe: Path, mood_corpus: Path, tmp_path: Path, cli: Cli
) -> None:
    (tmp_path / "x" / "seed0" / "audio").mkdir(parents=True)
    ours = tmp_path / "x" / "seed0" / "audio" / "thesis.txt"
    ours.write_text("years")
    hostile = tmp_path / "hostile.csv"
    rows = mood_corpus.read_text().replace(",test\n", ",../../x\n")
    hostile.write_text(re.sub(r"(\d_\d\.(?:wav|npy))", rf"{mood_corpus.parent}/\1", rows))
    words = ("train", "sweep", recipe, "--out", tmp_path / "a" / "out", "--arms", "audio", "--seeds", "1")
    done = cli(*words, "--set", f'data.root="{hostile}"')
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "expected a split of 1 to 64 letters" in done.stderr
    assert ours.read_text() == "years"
    with pytest.raises(InputError, match="expected a fold's name"):
        load_plan(recipe).jobs(["audio"], ["../../x"], [0])
    with pytest.raises(InputError, match="expected a recipe's name"):
        load_plan(recipe, ["name=../../x"])


def test_a_folder_that_no_sweep_made_is_left_alone(recipe: Path, tmp_path: Path) -> None:
    (job,) = load_plan(recipe).jobs(["audio"], ["test"], [0])
    thesis = tmp_path / job.place / "thesis.txt"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("years")
    command = (*run(recipe, tmp_path), "--arms", "audio", "--seeds", "1")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, thesis.read_text()) == (1, "years")
    assert "to be empty or a sweep's, got other files: choose another folder (--out)" in done.stderr
    assert "Traceback" not in done.stderr


def test_results_are_of_the_data_and_the_networks(recipe: Path, mood_corpus: Path, monkeypatch: Any) -> None:
    def key() -> str:
        return load_plan(recipe).jobs(["audio"], ["test"], [0], lambda recipe: inputs_of(recipe, {}))[0].key

    once = key()
    assert key() == once
    rows = mood_corpus.read_text()
    mood_corpus.write_text(rows.replace("0_0.wav,plain", "0_0.wav,bright"))
    try:
        assert key() != once
    finally:
        mood_corpus.write_text(rows)
    assert key() == once
    monkeypatch.setitem(SIZES, "nano", replace(SIZES["nano"], embedding=96))
    learnt._shapes.cache_clear()
    assert key() != once
    learnt._shapes.cache_clear()


def test_an_unknown_arm_or_fold_is_one_sentence(recipe: Path, cli: Cli) -> None:
    plan = load_plan(recipe)
    with pytest.raises(InputError, match="expected arms of teacher, audio, taught, int8, got loud"):
        chosen_arms(plan, "audio,loud")
    assert chosen_arms(plan, "taught") == ["audio", "taught"]
    with pytest.raises(InputError, match="expected folds of test, got 'fold9'"):
        chosen_folds(plan, "fold9")
    done = cli("train", "sweep", recipe, "--folds", "fold9")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_two_sweeps_do_not_share_a_folder(recipe: Path, tmp_path: Path) -> None:
    import fcntl

    with (tmp_path / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = subprocess.run(run(recipe, tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "another sweep at work" in done.stderr


def test_arms_are_chosen_on_validation_speakers(recipe: Path, tmp_path: Path) -> None:
    choosing = tmp_path / "tiny.toml"
    choosing.write_text(recipe.read_text().replace("snr_db = [0.0]", 'measure = "validation"'))
    command = run(choosing, tmp_path / "out", "--set", "data.validation_speakers=0.25", "--arms", "audio")
    subprocess.run((*command, "--jobs", "1"), capture_output=True, text=True, check=True)
    trained = json.loads((tmp_path / "out" / "results.json").read_text())["trainings"]
    assert {row["seed"] for row in trained} == {0, 1}
    assert all(len(set(row["speakers"])) == 1 and not {"voice4", "voice5"} & set(row["speakers"]) for row in trained)
    done = subprocess.run(run(choosing, tmp_path / "none", "--arms", "audio"), capture_output=True, text=True, check=False)  # fmt: skip
    assert "set data.validation_speakers" in done.stderr
    assert "Traceback" not in done.stderr, "an error in a worker is one sentence, too"
