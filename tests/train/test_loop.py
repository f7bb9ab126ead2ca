"""A training that was cut off and taken up again is the training that was not."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edge_lupi.disk import temporary_prefix
from edge_lupi.errors import InputError
from edge_lupi.train.checkpoint import recipe_digest, refuse_other_recipe
from edge_lupi.train.examples.batch import Batch
from edge_lupi.train.examples.draw import Draw
from edge_lupi.train.loop import Run, fit, make_fabric
from edge_lupi.train.recipe import Course, QatRecipe, StudentRecipe

COURSE = Course(epochs=4, batch=4, rate=0.05)


class PowerCut(Exception):
    """The end of the world, for this process."""


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(32, 1)
    )


@dataclass(frozen=True)
class Given:
    """Epochs of so many steps, from a function."""

    of: Callable[[int], Iterator[Batch]]
    steps: int = 1

    def __call__(self, epoch: int) -> Iterator[Batch]:
        return self.of(epoch)


def train(run: Run, *, cut_off_in: int | None = None) -> tuple[nn.Module, list[dict[str, float]]]:
    """Four epochs of three batches; the power fails in the middle of epoch `cut_off_in`."""

    def batches(epoch: int) -> Iterator[Batch]:
        random = torch.Generator().manual_seed(epoch)
        for step in range(3):
            if (epoch, step) == (cut_off_in, 1):
                raise PowerCut
            yield Batch(torch.randn(4, 24, generator=random), torch.zeros(4), (), (), None)

    def losses(module: nn.Module, batch: Batch, draw: Draw) -> dict[str, Tensor]:
        pictures = batch.frames.reshape(4, 1, 4, 6)
        disturbed = pictures + 0.1 * draw.normal(*pictures.shape)
        return {"square": (module(disturbed)[:, 0] - pictures.sum((1, 2, 3))).square().mean()}

    module = network()
    return module, fit(make_fabric(run.course.precision), module, run, Given(batches, 3), losses)


def run_in(folder: Path, **identity: object) -> Run:
    return Run(folder, "x", COURSE, 1, {"recipe": "x", **identity})


def test_taken_up_again_equals_unbroken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unbroken, whole = train(run_in(tmp_path / "a"))
    for epoch in (1, 3):
        with pytest.raises(PowerCut):
            train(run_in(tmp_path / "b"), cut_off_in=epoch)
    resumed, history = train(run_in(tmp_path / "b"))
    assert "x  taken up again after epoch 3" in capsys.readouterr().err
    assert len(history) == len(whole) == 4
    for epoch, (a, b) in enumerate(zip(history, whole, strict=True)):
        assert a["square"] == pytest.approx(b["square"], rel=1e-4), epoch
    wanted = unbroken.state_dict()
    for name, value in resumed.state_dict().items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-4, atol=1e-5, msg=name)


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    first, history = train(run_in(tmp_path))
    second, again = train(run_in(tmp_path), cut_off_in=0)
    assert again == history
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


def test_the_history_is_kept_beside_the_checkpoint(tmp_path: Path) -> None:
    """After every epoch, so that a training can be watched; taken up again it is that of the whole."""
    _, whole = train(run_in(tmp_path / "a"))
    with pytest.raises(PowerCut):
        train(run_in(tmp_path / "b"), cut_off_in=2)
    kept = tmp_path / "b" / "x.history.json"
    assert json.loads(kept.read_text()) == whole[:2]
    train(run_in(tmp_path / "b"))
    assert [epoch["square"] for epoch in json.loads(kept.read_text())] == pytest.approx(
        [e["square"] for e in whole], rel=1e-4
    )
    assert json.loads((tmp_path / "a" / "x.history.json").read_text()) == whole
    kept.unlink()  # as after a training by an older edge-lupi
    train(run_in(tmp_path / "b"))
    assert len(json.loads(kept.read_text())) == 4


def test_a_figure_that_is_no_number_is_null(tmp_path: Path) -> None:
    def measure(history: list[dict[str, float]]) -> None:
        history[-1]["held-out EER"] = float("nan")

    def batches(epoch: int) -> Iterator[Batch]:
        yield Batch(torch.randn(4, 24), torch.zeros(4), (), (), None)

    def losses(module: nn.Module, batch: Batch, draw: Draw) -> dict[str, Tensor]:
        return {"square": module(batch.frames.reshape(4, 1, 4, 6)).square().mean()}

    fit(make_fabric(), network(), run_in(tmp_path), Given(batches), losses, after=measure)
    assert json.loads((tmp_path / "x.history.json").read_text())[3]["held-out EER"] is None


def test_a_finished_training_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(run_in(tmp_path))
    train(run_in(tmp_path))
    assert "x  already trained on exactly this; train afresh to train again (--fresh)\n" in capsys.readouterr().err


@pytest.mark.parametrize("epochs", [1, 2, 8, 9, 10, 11])
def test_few_steps_have_a_schedule(tmp_path: Path, epochs: int) -> None:
    course = Course(epochs=epochs, batch=4, rate=0.05)

    def batches(epoch: int) -> Iterator[Batch]:
        yield Batch(torch.randn(4, 24), torch.zeros(4), (), (), None)

    def losses(module: nn.Module, batch: Batch, draw: Draw) -> dict[str, Tensor]:
        return {"square": module(batch.frames.reshape(4, 1, 4, 6)).square().mean()}

    history = fit(make_fabric(), network(), replace(run_in(tmp_path), course=course), Given(batches), losses)
    assert len(history) == epochs


def test_what_a_killed_writer_left_is_cleared(tmp_path: Path) -> None:
    left, other = tmp_path / f"{temporary_prefix(tmp_path / 'x.checkpoint')}9", tmp_path / ".env"
    left.touch()
    other.touch()
    train(run_in(tmp_path))
    kept = [".env", "x.checkpoint", "x.curves.svg", "x.history.json"]
    assert [name for name in sorted(path.name for path in tmp_path.iterdir()) if name != "tensorboard"] == kept


def test_another_recipe_is_refused(tmp_path: Path) -> None:
    train(run_in(tmp_path))
    with pytest.raises(InputError, match="belongs to another recipe, seed or corpus: start over"):
        train(run_in(tmp_path, seed=2))


def test_another_recipe_is_refused_before_a_corpus_is_loaded(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    train(run)
    refuse_other_recipe(run.checkpoint, "x")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="belongs to another recipe: start over, or choose another folder") as caught:
        refuse_other_recipe(run.checkpoint, {"student": {"start_from": "a.pt"}})
    assert caught.value.options == ("fresh", "out")
    assert recipe_digest({"student": {"start_from": "a.pt"}}) == recipe_digest({"student": {"start_from": "b.pt"}})
    run.checkpoint.write_bytes(b"damaged")
    refuse_other_recipe(run.checkpoint, {"student": {}})  # what it is, `fit` says
    refuse_other_recipe(tmp_path / "none.checkpoint", {"student": {}})


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", None])
def test_a_damaged_checkpoint_is_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    run = run_in(tmp_path)
    train(run)
    run.checkpoint.write_bytes(run.checkpoint.read_bytes()[:2000] if content is None else content)
    with pytest.raises(InputError, match=r"x.checkpoint .*start afresh") as caught:
        train(run)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_networks_of_another_shape_is_one_sentence(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    train(run)
    saved = torch.load(run.checkpoint, weights_only=True)
    saved["module"]["5.weight"] = torch.zeros(1, 16)
    torch.save(saved, run.checkpoint)
    with pytest.raises(InputError, match="another version of edge-lupi: start afresh"):
        train(run)


def test_a_loss_that_explodes_is_one_sentence(tmp_path: Path) -> None:
    def batches(epoch: int) -> Iterator[Batch]:
        yield Batch(torch.full((4, 24), float("nan")), torch.zeros(4), (), (), None)

    def losses(module: nn.Module, batch: Batch, draw: Draw) -> dict[str, Tensor]:
        return {"square": module(batch.frames.reshape(4, 1, 4, 6)).square().mean()}

    with pytest.raises(InputError, match=r"became NaN or infinite in epoch 1: lower the rate"):
        fit(make_fabric(), network(), run_in(tmp_path), Given(batches), losses)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("world", [3, 4])
def test_a_batch_that_processes_cannot_share_is_one_sentence(tmp_path: Path, world: int) -> None:
    several: Any = SimpleNamespace(world_size=world)
    with pytest.raises(InputError, match=rf"a batch that {world} processes can share, two rows or more each, got 4"):
        fit(several, network(), run_in(tmp_path), Given(lambda epoch: iter(())), lambda *_: {})


def test_bfloat16_learns_what_float32_does(tmp_path: Path) -> None:
    """Products are rounded, weights are not: the losses are the same to a few percent, and not the same."""
    rounded = replace(run_in(tmp_path / "b"), course=replace(COURSE, precision="bfloat16"))
    (_, exact), (_, near) = train(run_in(tmp_path / "a")), train(rounded)
    assert near != exact
    assert [one["square"] for one in near] == pytest.approx([one["square"] for one in exact], rel=0.05)


def test_ranges_are_not_sought_in_bfloat16() -> None:
    with pytest.raises(InputError, match=r"expected qat\.precision float32, got 'bfloat16'"):
        QatRecipe(precision="bfloat16")
    with pytest.raises(InputError, match=r"expected student\.precision float32 or bfloat16, got 'half'"):
        StudentRecipe(precision="half")
