"""Curves beside a training's history: a picture always, TensorBoard's events where that is installed."""

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

from edge_lupi.train import curves
from edge_lupi.train.curves import Curves, curves_svg
from edge_lupi.train.examples.batch import Batch
from edge_lupi.train.loop import Run, fit, make_fabric
from edge_lupi.train.recipe import Course

SVG = "{http://www.w3.org/2000/svg}"
HISTORY = [{"label": 2.0, "embedding": 1.0}, {"label": 1.0, "embedding": 0.5, "held-out EER": 0.25}]


class OneStep:
    """Epochs of two batches."""

    steps = 2

    def __call__(self, epoch: int) -> Iterator[Batch]:
        return iter([Batch(torch.ones(4, 3), torch.zeros(4), (), (), None)] * 2)


def _train(folder: Path) -> None:
    run = Run(folder, "student", Course(epochs=3, batch=4, rate=0.01), 1, {})
    fit(make_fabric(), nn.Sequential(nn.Linear(3, 1)), run, OneStep(), lambda m, b, d: {"square": m(b.frames).square().mean()})  # fmt: skip


def test_a_panel_for_every_figure() -> None:
    root = ElementTree.fromstring(curves_svg("student", HISTORY))
    texts = [node.text for node in root.iter(f"{SVG}text")]
    assert texts[0] == "student, 2 epochs"
    assert {"label", "embedding", "held-out EER"} <= set(texts)
    paths = [node.attrib["d"] for node in root.iter(f"{SVG}path")]
    assert [path.count("L") for path in paths] == [1, 1, 0]
    first, second = (float(point.split()[1]) for point in paths[0][1:].split("L"))
    assert second > first, "a loss that falls goes down"


@pytest.mark.parametrize(
    "history", [[], [{"a": math.nan}], [{"a": 1.0}], [{"a": 1.0}, {"a": math.inf}], [{"<b>&\n": 0.0}]]
)
def test_any_history_is_a_picture(history: list[dict[str, float]]) -> None:
    text = curves_svg("<script>", history)
    assert ElementTree.fromstring(text).tag == f"{SVG}svg"
    assert "<script" not in text
    assert "nan" not in text
    assert "inf" not in text


def test_a_training_leaves_its_curves_and_says_how_far_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves, "find_spec", lambda name: None)
    log = logging.getLogger("edge_lupi")
    log.addHandler(caplog.handler)
    _train(tmp_path)
    log.removeHandler(caplog.handler)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "student.checkpoint",
        "student.curves.svg",
        "student.history.json",
    ]
    assert "student, 3 epochs" in (tmp_path / "student.curves.svg").read_text()
    said = [record.getMessage() for record in caplog.records]
    assert said[:3] == ["student  3 epochs of 2 steps", "student  epoch 1/3  step 1/2", "student  epoch 1/3  step 2/2"]
    _train(tmp_path)
    assert "student, 3 epochs" in (tmp_path / "student.curves.svg").read_text()


def test_tensorboard_shows_the_same(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _train(tmp_path)
    again = Curves(tmp_path, "student", begun=2)
    again.show([*HISTORY, {"square": 7.0}])
    again.close()
    events = EventAccumulator(str(tmp_path / "tensorboard" / "student"))
    events.Reload()
    scalars = events.Scalars("square")
    assert [scalar.step for scalar in scalars] == [1, 2, 3]
    assert scalars[-1].value == 7
