"""Crops drawn anew: another place, speed and sound in every epoch, labels that follow the voice, and the clean sound beside."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from edge_lupi.errors import InputError
from edge_lupi.models.front_end import log_mel
from edge_lupi.train.examples.clips import UNLABELLED
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.examples.cut_settings import cut_settings
from edge_lupi.train.examples.prepared import Prepared
from edge_lupi.train.recipe import AugmentRecipe, DataRecipe, PretrainedTeacherRecipe, Recipe, SegmentRecipe
from edge_lupi.train.sounds.fresh import FreshCrops, fresh_crops, margin_samples
from edge_lupi.train.stages.teacher import train_teacher

CPU = torch.device("cpu")
DATA = DataRecipe("librispeech_excerpts", "speaker", "held_out", sound="samples")
RECIPE = Recipe("fresh", DATA, segments=SegmentRecipe(crop_seconds=2.0))


@pytest.fixture(scope="module")
def prepared(data_root: Path) -> Prepared:
    """Eight real voices with labels, and four that nobody named."""
    whole = prepare(replace(RECIPE, data=replace(DATA, root=str(data_root / "librispeech_excerpts"))))
    train = whole.split.train[:8]
    split = replace(whole.split, train=train, unlabelled=whole.split.train[20:24])
    return replace(whole, split=split, classes=tuple(sorted({u.label for u in train})))


@pytest.fixture
def crops(prepared: Prepared, tmp_path: Path) -> Callable[..., FreshCrops]:
    def make(taught: bool = False, **augment: Any) -> FreshCrops:
        teachers = (PretrainedTeacherRecipe("x.onnx"),) if taught else ()
        recipe = replace(RECIPE, augment=AugmentRecipe(**augment), teachers=teachers)
        return fresh_crops(recipe, prepared, 8, 0, tmp_path, CPU)

    return make


def test_every_epoch_hears_other_crops_and_the_same_again(crops: Callable[..., FreshCrops]) -> None:
    epochs = crops(free_speeds=0.5, rooms=0.3, babble=0.3, noises=0.3, levels=0.5, wires=0.3)
    first, again, second = ([b.frames for b in epochs(epoch)] for epoch in (0, 0, 1))
    assert len(first) == epochs.steps > 3
    assert first[0].shape == (8, 80, 1, 200)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], second[0])


def test_an_epoch_hears_all_there_is(crops: Callable[..., FreshCrops]) -> None:
    epochs = crops()
    seconds = float(epochs.sounds.lengths.sum()) / 16000
    assert abs(8 * epochs.steps * 2.0 - seconds) < 0.25 * seconds
    heard = {i for batch in epochs(0) for i in batch.examples}
    assert len(heard) == 8
    twice = replace(epochs, recipe=replace(RECIPE, data=replace(DATA, rounds=2)))
    assert twice.steps >= 2 * epochs.steps


def test_undisturbed_crops_are_what_the_teacher_hears(crops: Callable[..., FreshCrops]) -> None:
    batch = next(crops(speeds=(1.0, 0.9))(0))
    assert batch.clean is not None
    assert batch.clean.shape == (8, 32000)
    torch.testing.assert_close(log_mel(batch.clean)[..., 2:], batch.frames[..., 2:], atol=1e-3, rtol=0)


def test_a_teacher_may_hear_more(crops: Callable[..., FreshCrops]) -> None:
    epochs = crops(taught=True)
    recipe = replace(epochs.recipe, teachers=(PretrainedTeacherRecipe("x.onnx", hears_seconds=3.0),))
    assert margin_samples(recipe) == 8000
    wide = next(replace(epochs, recipe=recipe)(0)).clean
    narrow = next(epochs(0)).clean
    assert wide is not None
    assert narrow is not None
    torch.testing.assert_close(wide[:, 8000:-8000], narrow)


def test_another_speed_is_another_class_and_a_free_one_nobody(crops: Callable[..., FreshCrops]) -> None:
    listed = torch.cat([b.labels for b in crops(speeds=(1.0, 0.9, 1.1))(0)])
    assert listed.min() >= 0
    assert 16 <= listed.max() < 24  # eight voices at three speeds
    free = crops(free_speeds=0.5)
    labels = torch.cat([b.labels for b in free(0)])
    assert 0.3 < (labels == UNLABELLED).float().mean() < 0.7
    assert labels.max() < 8
    assert free.labelled == 0.5
    emotion = replace(free, recipe=replace(free.recipe, data=replace(DATA, task="emotion")))
    assert min(int(b.labels.min()) for b in emotion(0)) >= 0  # at another speed a mood is the same mood


def test_a_second_task_that_compares_voices_hears_other_speeds_as_others(
    crops: Callable[..., FreshCrops], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_lupi.task.VERIFICATION_TASKS", ("speaker", "singer"))
    speaker = crops(speeds=(1.0, 0.9, 1.1))
    singer = replace(speaker, recipe=replace(speaker.recipe, data=replace(DATA, task="singer")))
    for one, other in zip(speaker(0), singer(0), strict=True):
        assert torch.equal(one.labels, other.labels)


def test_nameless_voices_only_beside_teachers(crops: Callable[..., FreshCrops]) -> None:
    assert len(crops().sounds.names) == 8
    taught = crops(taught=True)
    assert len(taught.sounds.names) == 12
    labels = torch.cat([b.labels for b in taught(0)])
    assert abs(taught.labelled - float((labels != UNLABELLED).float().mean())) < 0.1
    assert {int(label) for b in taught(0) for i, label in zip(b.examples, b.labels, strict=True) if i >= 8} == {-1}


def test_two_processes_share_a_batch(crops: Callable[..., FreshCrops]) -> None:
    whole = crops(free_speeds=0.5)
    halves = [replace(whole, rank=rank, world=2) for rank in (0, 1)]
    for batch, first, second in zip(whole(3), halves[0](3), halves[1](3), strict=True):
        assert batch.examples == first.examples + second.examples
        torch.testing.assert_close(batch.frames, torch.cat([first.frames, second.frames]))
        assert torch.equal(batch.labels, torch.cat([first.labels, second.labels]))


def test_codecs_for_a_share(crops: Callable[..., FreshCrops]) -> None:
    pytest.importorskip("av")
    with_codecs, without = next(crops(codecs=0.5)(0)), next(crops()(0))
    apart = (with_codecs.frames - without.frames).abs().amax((1, 2, 3)) > 0.1
    assert 1 <= apart.sum() <= 7
    torch.testing.assert_close(with_codecs.clean, without.clean)


def test_shards_and_teachers_that_see_keep_log_mels(prepared: Prepared, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r'expected data.sound = "log-mel" where a corpus is in shards, got \'samples\''
    ):
        cut_settings(RECIPE)
    with pytest.raises(InputError, match=r'expected data.sound = "log-mel" for a teacher'):
        train_teacher(RECIPE, prepared, tmp_path)


def test_too_little_to_train_on(prepared: Prepared, tmp_path: Path) -> None:
    alone = replace(prepared, split=replace(prepared.split, train=prepared.split.train[:1]))
    recipe = replace(RECIPE, segments=SegmentRecipe(crop_seconds=60.0))
    with pytest.raises(InputError, match=r"expected at least 2 crops to train on, .* got 1: bring more"):
        fresh_crops(recipe, alone, 8, 0, tmp_path, CPU)
