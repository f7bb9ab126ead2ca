"""Ranges by nvidia-modelopt, and a fine-tuned student that lives on their grid."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edge_lupi.errors import InputError
from edge_lupi.frames import Segmentation
from edge_lupi.models.encoder import Encoder
from edge_lupi.models.files import TrainedStudent, load_student
from edge_lupi.models.front_end import cut, log_mel
from edge_lupi.models.rounding import convolutions, fix_ranges, points
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.recipe import load_recipe
from edge_lupi.train.stages.qat import find_ranges, train_qat


@pytest.fixture(scope="module")
def heard(voice: Callable[..., Any]) -> torch.Tensor:
    sounds = torch.from_numpy(np.stack([voice(seed, 2.0) for seed in range(4)]))
    return cut(log_mel(sounds), Segmentation(0.5, 0.25)).flatten(0, 1)


def test_every_point_and_weight_gets_its_range(heard: torch.Tensor) -> None:
    torch.manual_seed(0)
    encoder = Encoder("nano")
    with torch.no_grad():
        encoder(heard)
    encoder.fold()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    with torch.no_grad():
        wanted = encoder(heard)
    ranges = find_ranges(encoder, iter(heard.split(7)), headroom=1.5)
    assert ranges.keys() == {n for n, _ in points(encoder)} | {f"{n}.weight" for n, _ in convolutions(encoder)}
    for name, conv in convolutions(encoder):
        torch.testing.assert_close(ranges[f"{name}.weight"], conv.weight.detach().abs().amax((1, 2, 3)))
    for name, _ in points(encoder):
        assert ranges[name].shape == ()
        assert ranges[name] > 0
    torch.testing.assert_close(ranges["out"], 1.5 * wanted.abs().max())  # nothing that was heard is cut off
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())  # and no trace of it
    with torch.no_grad():
        assert torch.equal(encoder(heard), wanted)
        fix_ranges(encoder, ranges)
        assert torch.nn.functional.cosine_similarity(encoder(heard), wanted).mean() > 0.98


def test_the_fine_tuned_student_keeps_the_float_ones_embeddings(mood_chain: Any, heard: torch.Tensor) -> None:
    before = load_student(mood_chain.folder / "student.pt").student
    fine = load_student(mood_chain.folder / "student.int8.pt")
    fix_ranges(fine.student.encoder, fine.ranges)
    with torch.no_grad():
        near = torch.nn.functional.cosine_similarity(fine.student.encoder(heard), before.encoder.fold()(heard))
    assert near.min() > 0.98
    for name, value in before.branches.state_dict().items():
        assert torch.equal(value, fine.student.branches.state_dict()[name])  # aggregator and header stay


def tuned(chain: Any, folder: Path, *changes: str) -> TrainedStudent:
    recipe = load_recipe(chain.recipe, list(changes))
    return load_student(train_qat(recipe, prepare(recipe), chain.folder / "student.pt", folder))


def test_without_epochs_it_only_calibrates(mood_chain: Any, tmp_path: Path) -> None:
    before = load_student(mood_chain.folder / "student.pt").student
    before.encoder.fold()
    found = tuned(mood_chain, tmp_path, "qat.epochs=0")
    names = {name for name, _ in points(before.encoder)}
    assert found.ranges.keys() == names | {f"{name}.weight" for name, _ in convolutions(before.encoder)}
    for name, value in before.state_dict().items():
        assert torch.equal(value, found.student.state_dict()[name]), name
    assert found.provenance.qat["epochs"] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["student.int8.pt"]  # nothing to take up again


def test_fine_tuning_ends_nearer_to_the_float_student_than_calibration(
    mood_chain: Any, heard: torch.Tensor, tmp_path: Path
) -> None:
    before = load_student(mood_chain.folder / "student.pt").student.encoder.fold()

    def error(*changes: str) -> float:
        found = tuned(mood_chain, tmp_path, "qat.batch=4", "qat.rate=3e-5", *changes)
        fix_ranges(found.student.encoder, found.ranges)
        with torch.no_grad():
            return (found.student.encoder(heard) - before(heard)).square().mean().item()

    calibrated, fine_tuned = error("qat.epochs=0"), error("qat.epochs=12")
    assert 0 < fine_tuned < calibrated


def refused(chain: Any, source: str, folder: Path, *changes: str) -> str:
    recipe = load_recipe(chain.recipe, list(changes))
    with pytest.raises(InputError) as caught:
        train_qat(recipe, prepare(recipe), chain.folder / source, folder)
    assert not list(folder.iterdir())
    return str(caught.value)


def test_what_cannot_be_fine_tuned(mood_chain: Any, tmp_path: Path) -> None:
    assert "already on the int8 grid" in refused(mood_chain, "student.int8.pt", tmp_path)
    assert "expected a student for task tone" in refused(mood_chain, "student.pt", tmp_path, "data.task=tone")


def test_another_student_does_not_take_up_the_checkpoint(mood_chain: Any, tmp_path: Path) -> None:
    """student.pt and audio_only.pt are alike in all but their weights."""
    recipe = load_recipe(mood_chain.recipe)
    for name in ("student", "audio_only"):
        (tmp_path / "student.pt").write_bytes((mood_chain.folder / f"{name}.pt").read_bytes())
        if name == "student":
            train_qat(recipe, prepare(recipe), tmp_path / "student.pt", tmp_path)
    with pytest.raises(InputError, match="belongs to another recipe, seed or corpus: start over"):
        train_qat(recipe, prepare(recipe), tmp_path / "student.pt", tmp_path)
