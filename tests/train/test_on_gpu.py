"""The whole way on a GPU: crops, surroundings, a teacher's graph, student, fine-tuning. Skipped where there is none."""

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edge_lupi.models.files import load_student
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.examples.prepared import Prepared
from edge_lupi.train.recipe import Recipe, load_recipe
from edge_lupi.train.sounds.fresh import fresh_crops
from edge_lupi.train.stages.qat import train_qat
from edge_lupi.train.stages.student import train_student
from edge_lupi.train.teachers import live
from edge_lupi.train.teachers.torch_graph import TorchGraph
from tests.train.teachers.test_kept import mean_graph
from tests.train.teachers.test_torch_graph import graph  # noqa: F401

pytestmark = [pytest.mark.needs_gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]
RECIPE = Path(__file__).resolve().parents[2] / "train" / "speaker_campplus.toml"
EVERYTHING = ("rooms", "babble", "noises", "levels", "constants", "clipping", "codecs", "wires")


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """The recipe that is meant for a GPU, small, under a teacher whose answer is known."""
    monkeypatch.setattr(live, "SAMPLE_CROPS", 256)
    path = tmp_path / "mean.onnx"
    path.write_bytes(mean_graph(4, 3))
    changes = ["student.size=pico", "student.epochs=2", "student.batch=32", "qat.batch=32", "qat.epochs=1"]
    found = load_recipe(RECIPE, [*changes, *(f"augment.{key}=0.5" for key in EVERYTHING)])
    teacher = replace(found.teachers[0], path=str(path), front_end="log-mel", projection="learnt")
    return replace(found, teachers=(teacher, replace(teacher, place="segment", hears_seconds=1.5)))


@pytest.fixture
def prepared(recipe: Recipe, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    monkeypatch.setenv("EDGE_LUPI_DATA", str(data_root))
    whole = prepare(recipe)
    parts = whole.split
    fewer = replace(parts, train=parts.train[:16], unlabelled=parts.unlabelled[:8], validation=parts.validation[:4])
    return replace(whole, split=fewer, classes=tuple(sorted({u.label for u in fewer.train})))


def test_from_crops_to_int8(recipe: Recipe, prepared: Prepared, tmp_path: Path) -> None:
    path = train_student(recipe, prepared, tmp_path)
    history = json.loads((tmp_path / "student.history.json").read_text())
    assert sum(name.startswith("held-out cosine") for epoch in history for name in epoch) == 4
    int8 = load_student(train_qat(recipe, prepared, path, tmp_path))
    assert all(value.device.type == "cpu" and math.isfinite(float(value.sum())) for value in int8.ranges.values())


def test_crops_are_those_of_the_cpu(recipe: Recipe, prepared: Prepared, tmp_path: Path) -> None:
    quiet = replace(recipe, augment=replace(recipe.augment, babble=0.0, noises=0.0, codecs=0.0))
    first, second = (
        next(fresh_crops(quiet, prepared, 32, 0, tmp_path, torch.device(kind))(0)) for kind in ("cpu", "cuda")
    )
    assert first.clean is not None
    assert second.clean is not None
    torch.testing.assert_close(second.clean.cpu(), first.clean, atol=1e-4, rtol=0)
    assert (second.frames.cpu() - first.frames).abs().mean() < 0.02


def test_a_graph_says_the_same(graph: bytes) -> None:  # noqa: F811
    heard = torch.randn(4, 198, 80)
    here, there = (TorchGraph(graph, torch.device(kind), "graph")(heard) for kind in ("cpu", "cuda"))
    torch.testing.assert_close(there.cpu(), here, atol=2e-2, rtol=1e-2)  # TF32


def test_two_thousand_crops_a_second(recipe: Recipe, prepared: Prepared, tmp_path: Path) -> None:
    crops = fresh_crops(replace(recipe, data=replace(recipe.data, rounds=40)), prepared, 256, 0, tmp_path, torch.device("cuda"))  # fmt: skip
    batches = crops(0)
    next(batches)
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(4):
        next(batches)
    torch.cuda.synchronize()
    assert 4 * 256 / (time.perf_counter() - began) > 2000
