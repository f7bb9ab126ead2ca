"""Corpora that train beside the first: labels that both have, nobody who is tested, and licences that go along."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edge_lupi.data.readers.corpora import read_corpus
from edge_lupi.errors import InputError
from edge_lupi.evaluate.unheard import unheard
from edge_lupi.models.files import load_teacher
from edge_lupi.models.teacher import FeatureEye
from edge_lupi.train.examples.clips import load_examples, shuffled
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.examples.learnt import inputs_of
from edge_lupi.train.recipe import Recipe, load_recipe
from edge_lupi.train.stages.student import train_student
from edge_lupi.train.stages.teacher import train_teacher


@pytest.fixture
def beside(mood_chain: Any, tmp_path: Path, voice: Any, sound_file: Any) -> Any:
    """`beside(lines)`: the recipe of moods with a corpus beside it, of four voices and the labels plain, bright and odd."""
    rows = ["audio,label,speaker,split"]
    for speaker in range(4):
        for label in ("plain", "bright", "odd"):
            name = f"{speaker}_{label}.wav"
            sound_file(f"more/{name}", voice(40 + speaker, 1.5))
            rows.append(f"{name},{label},more{speaker},{'train' if speaker < 3 else 'test'}")
    (tmp_path / "more" / "more.csv").write_text("\n".join(rows) + "\n")

    def make(lines: str = "") -> Recipe:
        path = tmp_path / "recipe.toml"
        section = f'[[data.also]]\nroot = "{tmp_path / "more" / "more.csv"}"\n{lines}\n'
        path.write_text(mood_chain.recipe.read_text() + section)
        return load_recipe(path, ["teacher.epochs=1", "student.epochs=1", "qat.epochs=0"])

    return make


def names(recipe: Recipe) -> list[str]:
    return [u.name for u in prepare(recipe).split.train if u.name.startswith("more/")]


def test_labels_that_both_have_are_taken(beside: Any) -> None:
    assert len(names(beside())) == 8  # the odd are left out
    assert len(names(beside('split = "train"\nleave_out = ["more0"]'))) == 4
    assert 1 <= len(names(beside("share = 0.5"))) < 8
    assert names(beside("share = 0.5")) == names(beside("share = 0.5"))


def test_everything_may_be_called_alike(beside: Any) -> None:
    train = prepare(beside('label = "plain"')).split.train
    assert {u.label for u in train if u.name.startswith("more/")} == {"plain"}
    assert sum(u.name.startswith("more/") for u in train) == 12


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('label = "sleepy"', "data.also.label of bright, plain, got 'sleepy'"),
        ('leave_out = ["nobody"]', "leave_out of speakers of more, got also nobody"),
        ('split = "fold7"', "got none: its labels are bright, odd, plain"),
        ("share = 0.0", "share above 0"),
    ],
)
def test_what_cannot_be_is_one_sentence(beside: Any, lines: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        prepare(beside(lines))


def test_nobody_who_is_tested_trains_beside(beside: Any, tmp_path: Path) -> None:
    table = tmp_path / "more" / "more.csv"
    recipe = beside()
    table.write_text(table.read_text().replace("more2", "voice5"))
    with pytest.raises(InputError, match=r"no speaker in both training and test, got 1 \(voice5\)"):
        prepare(recipe)


def test_the_teacher_does_without_video_that_is_not_there(beside: Any, tmp_path: Path) -> None:
    recipe = beside('licence = "CC BY 4.0"')
    prepared = prepare(recipe)
    examples = load_examples(prepared.split.train, prepared.classes, recipe, video="features")
    unseen = [e.name.startswith("more/") for e in examples]
    assert [bool(e.video.isnan().all()) for e in examples if e.video is not None] == unseen  # every one has some
    other = [bool(e.video.isnan().all()) for e in shuffled(examples, 0) if e.video is not None]
    assert other == unseen  # and those that were seen are shown what somebody did
    teacher = train_teacher(recipe, prepared, tmp_path / "run")
    eye = load_teacher(teacher)[0].eye
    assert isinstance(eye, FeatureEye)
    assert eye.mean.isfinite().all()
    nothing = eye(torch.full((2, 4), torch.nan))
    assert not nothing.any()
    student = train_student(recipe, prepared, tmp_path / "run", teachers=[teacher])
    origin = prepared.provenance(recipe)
    assert origin.corpus == "moods, more"
    assert origin.licence == "moods: unknown: the user's own recordings; more: CC BY 4.0"
    assert student.is_file()


def test_who_trained_beside_is_not_evaluated(beside: Any, tmp_path: Path) -> None:
    origin = prepare(beside('split = "train"')).provenance(beside())
    kept, left = unheard(read_corpus(tmp_path / "more" / "more.csv"), origin)
    assert ({u.speaker for u in kept}, left) == ({"more3"}, 9)


def test_a_result_is_of_what_trained_beside(beside: Any, tmp_path: Path) -> None:
    recipe = beside()
    before = inputs_of(recipe, {})
    table = tmp_path / "more" / "more.csv"
    table.write_text(table.read_text().replace("0_bright.wav,bright", "0_bright.wav,plain"))
    assert inputs_of(recipe, {}) != before
    assert np.array_equal(inputs_of(recipe, {}), inputs_of(recipe, {}))
