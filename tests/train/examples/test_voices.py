"""What a training step knows of a voice: other clips of it, of its own speed, drawn alike for the same seed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edge_lupi.errors import InputError
from edge_lupi.models.files import load_student
from edge_lupi.train.examples.clips import Example
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.examples.draw import Draw
from edge_lupi.train.examples.voices import Voices
from edge_lupi.train.recipe import load_recipe
from edge_lupi.train.recipe.voice import VoiceRecipe
from edge_lupi.train.stages.student import train_student
from edge_lupi.train.sweep.plan import load_plan
from edge_lupi.train.sweep.run import run_sweep

CLASSES = ("plain", "bright")


def examples() -> list[Example]:
    """Two voices of ten clips, of which two are plain, and a clip of nobody knows whom."""
    frames = np.zeros((1, 80), np.float32)
    known = [Example(f"{v}{n}", frames, int(n > 1), v, 1) for v in ("anna", "bert") for n in range(10)]
    return [*known, Example("?", frames, 0, None, 1)]


def voices(**changes: Any) -> Voices:
    return Voices(examples(), CLASSES, VoiceRecipe(5.0, **{"after": 0.0, **changes}), 3)


def test_only_other_clips_of_the_same_voice_are_known() -> None:
    chosen = voices(alone=0.0).choose([3] * 200 + [13] * 200 + [20] * 10, Draw(0))
    found = [set(row[row >= 0].tolist()) for row in chosen]
    assert set().union(*found[:200]) == set(range(10)) - {3}
    assert set().union(*found[200:400]) == set(range(10, 20)) - {13}
    assert not any(found[400:])


def test_who_has_a_single_clip_is_known_by_it() -> None:
    single = Example("carl", np.zeros((1, 80), np.float32), 0, "carl", 1)
    recipe = VoiceRecipe(5.0, after=0.0, alone=0.25, mostly=("plain",))
    chosen = Voices([*examples(), single], CLASSES, recipe, 3).choose([21] * 400, Draw(0))
    assert set(chosen[chosen >= 0].tolist()) == {21}
    counts = (chosen >= 0).sum(1)
    assert 0.2 < float((counts == 0).float().mean()) < 0.3
    assert counts.max() == 8


def test_some_rows_know_nothing_and_others_mostly_what_is_usual() -> None:
    chosen = voices(alone=0.25, mostly=("plain",)).choose([9] * 4000, Draw(1))
    counts = (chosen >= 0).sum(1)
    assert 0.22 < float((counts == 0).float().mean()) < 0.35  # among them rows that drew themselves alone
    assert counts.max() == 8
    usual = float(((chosen >= 0) & (chosen < 2)).sum() / (chosen >= 0).sum())
    assert 0.45 < usual < 0.6  # half of the rows .88, the other half .2


def test_the_mean_is_of_what_was_heard_so_far() -> None:
    kept, before, now = voices(), torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 0, 5])
    chosen = torch.tensor([[1, 2, -1], [-1, -1, -1], [4, -1, -1]])
    nobody = torch.tensor([0.0, 0, 0, 5])
    torch.testing.assert_close(kept.of(chosen, now), nobody.expand(3, -1))  # nothing was heard yet
    kept.keep(torch.tensor([1, 2, 5]), torch.tensor([[1.0, 0, 0], [3.0, 2, 0], [9.0, 9, 9]]), before)
    torch.testing.assert_close(kept.of(chosen, now), torch.stack([torch.tensor([2.0, 1, 1, 5]), nobody, nobody]))


def test_nobody_knows_anything_at_first() -> None:
    kept = voices(after=0.5, alone=0.0)
    counts = []
    for epoch in range(4):
        kept.begin_epoch(epoch, 4)
        counts.append(int((kept.choose([0] * 50, Draw(epoch)) >= 0).sum()))
    assert [bool(count) for count in counts] == [False, False, True, True]


def test_a_label_that_nobody_has_is_refused() -> None:
    with pytest.raises(InputError, match=r"voice.mostly of plain, bright, got sleepy"):
        voices(mostly=("sleepy",))


@pytest.mark.parametrize(
    "change", ["voice.prior=-1", "voice.most=0", "voice.alone=1.0", "voice.after=1.0", "augment.mixup=0.2"]
)
def test_what_a_recipe_cannot_ask_for(mood_chain: Any, change: str) -> None:
    with pytest.raises(InputError, match="voice"):
        load_recipe(mood_chain.recipe, ["voice.prior=5.0", change])


def test_a_training_that_was_cut_off_knows_the_same_voices(mood_chain: Any, tmp_path: Path) -> None:
    recipe = load_recipe(mood_chain.recipe, ["voice.prior=5.0", "student.epochs=3"])
    prepared = prepare(recipe)
    whole = load_student(train_student(recipe, prepared, tmp_path / "whole"))

    class Cut(Exception):
        pass

    def cut(*_: Any) -> None:
        raise Cut

    from edge_lupi.train import loop

    with pytest.MonkeyPatch.context() as patch:
        save = loop._save
        patch.setattr(loop, "_save", lambda *words: (save(*words), cut()))
        with pytest.raises(Cut):
            train_student(recipe, prepared, tmp_path / "cut")
    again = load_student(train_student(recipe, prepared, tmp_path / "cut"))
    assert whole.student.config.tasks[0].voice == 5.0
    for name, value in whole.student.state_dict().items():
        torch.testing.assert_close(value, again.student.state_dict()[name], msg=name)


def test_a_sweep_may_learn_the_voices_on_a_finished_encoder(mood_chain: Any, tmp_path: Path) -> None:
    arms = """
[sweep]
[arms.first]
[arms.voice]
under = ["first"]
set = ["voice.prior=5.0", "voice.after=0.0", 'student.frozen=["encoder"]', "student.epochs=2"]
[arms.int8]
stage = "qat"
under = ["voice"]
"""
    path = tmp_path / "recipe.toml"
    path.write_text(mood_chain.recipe.read_text() + arms)
    plan = load_plan(path, ["student.epochs=1"])
    run_sweep(plan, ["int8"], ["test"], [0], tmp_path / "out", jobs=1)
    place = tmp_path / "out" / "test" / "seed0"
    first, voice, fine = (
        load_student(place / file) for file in ("first/student.pt", "voice/student.pt", "int8/student.int8.pt")
    )
    for name, value in first.student.encoder.state_dict().items():
        torch.testing.assert_close(value, voice.student.encoder.state_dict()[name], msg=name)
    assert (first.student.config.tasks[0].voice, voice.student.config.tasks[0].voice) == (0.0, 5.0)
    assert voice.student.branch().voice.population.any()  # type: ignore[union-attr]
    assert (fine.student.config.tasks[0].voice, bool(fine.ranges)) == (5.0, True)
