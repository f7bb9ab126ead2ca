"""Every speaker is tested once, by a student that has not heard them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

from edge_lupi.data.readers.corpora import read_corpus
from edge_lupi.errors import InputError
from edge_lupi.evaluate.measure import evaluate_classes
from edge_lupi.evaluate.reports import ClassReport, TrialReport
from edge_lupi.evaluate.trained import open_trained
from edge_lupi.models.files import load_student, save_student
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.recipe import load_recipe
from edge_lupi.train.sweep.leave_one_out import folds_of, leave_one_out

Cli = Callable[..., CompletedProcess[str]]


def test_every_speaker_is_in_one_fold() -> None:
    assert folds_of(("a", "b", "c"), 1) == [("a",), ("b",), ("c",)]
    assert folds_of(tuple("abcdefgh"), 3) == [("a", "c", "e", "g"), ("b", "d", "f", "h")]
    with pytest.raises(InputError, match="expected at least 6 speakers to leave 3 out in turn, got 5"):
        folds_of(tuple("abcde"), 3)


def test_labels_by_the_command_line(mood_chain: Any, cli: Cli, tmp_path: Path) -> None:
    words = (
        "train",
        "student",
        mood_chain.recipe,
        "--out",
        tmp_path,
        "--set",
        "student.epochs=1",
        "--set",
        "data.test=[]",
    )
    done = cli(*words, "--leave-one-out", "speaker")
    assert done.returncode == 0, done.stderr
    assert "fold 6 of 6: without voice5\n" in done.stderr
    found = json.loads((tmp_path / "leave_one_out.json").read_text())
    assert (found["utterances"], [fold["speakers"] for fold in found["folds"]]) == (
        24,
        [[f"voice{n}"] for n in range(6)],
    )
    assert f"UAR {100 * found['value']:.1f} %" in done.stdout
    assert done.stdout.endswith(f"{tmp_path}/leave_one_out.json\n")
    confusion = np.zeros((2, 2), int)
    for number in range(6):
        model = open_trained(tmp_path / f"fold{number}" / "student.pt", None)
        assert f"voice{number}" not in model.origin.training_speakers
        theirs = [u for u in read_corpus(mood_chain.corpus).utterances if u.speaker == f"voice{number}"]
        confusion += evaluate_classes(model.answer, theirs, model.task.labels, "mood").confusion
    assert found["confusion"] == confusion.tolist()
    again = cli(*words, "--leave-one-out", "speaker")
    assert again.stderr.count("already trained on exactly this") == 6
    assert json.loads((tmp_path / "leave_one_out.json").read_text()) == found


def test_voices_are_compared_among_those_left_out(
    speaker_chain: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = load_student(speaker_chain.folder / "student.pt")
    elsewhere = replace(trained.provenance, corpus="elsewhere")
    save_student(tmp_path / "begun.pt", replace(trained, provenance=elsewhere))
    recipe = load_recipe(speaker_chain.recipe, [f'student.start_from="{tmp_path}/begun.pt"'])
    found = leave_one_out(recipe, prepare(recipe), tmp_path)
    assert f"{tmp_path}/begun.pt, on the same: EER " in capsys.readouterr().err
    assert json.loads((tmp_path / "leave_one_out.json").read_text())["start_from"]["trials"] == found.plain()["trials"]
    assert isinstance(found, TrialReport)
    assert (found.trials, found.targets) == (2 * (8 * 7 // 2), 8)  # two folds of four voices, two recordings each
    for number in range(2):
        origin = load_student(tmp_path / f"fold{number}" / "student.pt").provenance
        assert len(origin.training_speakers) == 4


def test_nobody_is_held_out_where_all_shall_train(mood_chain: Any) -> None:
    assert len(prepare(load_recipe(mood_chain.recipe, ["data.test=[]"])).split.train) == 24


def test_what_cannot_be_left_out_in_turn(mood_chain: Any, cli: Cli, tmp_path: Path) -> None:
    words = ("train", "student", mood_chain.recipe, "--out", tmp_path, "--leave-one-out")
    assert "expected --leave-one-out speaker, got 'label'" in cli(*words, "label").stderr
    assert "expected no --teacher" in cli(*words, "speaker", "--teacher", mood_chain.folder / "teacher.pt").stderr
    recipe = load_recipe(mood_chain.recipe, ["data.speaker_dependent=true", "data.test=0.5"])
    with pytest.raises(InputError, match="split by speaker"):
        leave_one_out(recipe, prepare(recipe), tmp_path)
    assert not (tmp_path / "leave_one_out.json").exists()


def test_pooled_figures_are_those_of_one_list(mood_chain: Any, tmp_path: Path) -> None:
    recipe = load_recipe(mood_chain.recipe, ["student.epochs=1"])
    found = leave_one_out(recipe, prepare(recipe), tmp_path, name="audio_only")
    assert isinstance(found, ClassReport)
    assert found.accuracy == np.trace(found.confusion) / 24
    assert found.uar.low <= found.uar.value <= found.uar.high
