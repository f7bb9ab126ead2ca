"""Clips that a teacher has answered for, as train/speaker_clips.toml trains on them."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_lupi.data.readers.corpora import read_corpus
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.recipe.recipe import load_recipe

TRAIN = Path(__file__).resolve().parents[2] / "train"


def _mean_of_features(path: Path) -> Path:
    """A teacher that says the mean of its features [B, F, 80] over time."""
    node = helper.make_node("ReduceMean", ["features"], ["embedding"], axes=[1], keepdims=0)
    floats = TensorProto.FLOAT
    heard = helper.make_tensor_value_info("features", floats, ["b", "f", 80])
    said = helper.make_tensor_value_info("embedding", floats, ["b", 80])
    graph = helper.make_graph([node], "mean", [heard], [said])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_every_row_of_training_has_a_vector(data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("speaker_clips", TRAIN / "speaker_clips.py")
    script = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(script)  # type: ignore[union-attr]
    teacher, out = _mean_of_features(tmp_path / "teacher.onnx"), tmp_path / "clips"
    monkeypatch.setenv("EDGE_LUPI_DATA", str(data_root))
    monkeypatch.setattr(
        sys,
        "argv",
        ["", str(teacher), str(TRAIN / "speaker_campplus.toml"), "--clips", "64", "--moods", "0", "--out", str(out)],
    )
    script.main()
    changes = [f'data.root="{out / "voices.csv"}"', f'data.unlabelled=["{out / "clips.csv"}"]']
    parts = prepare(load_recipe(TRAIN / "speaker_clips.toml", changes)).split
    table = dict(np.load(out / "campplus.npz"))
    assert {one.name for one in (*parts.train, *parts.unlabelled)} <= set(table["utterance"].tolist())
    assert table["embedding"].shape == (len(parts.train) + 64, 80)
    assert len(parts.validation) == 20
    held_out = {
        one.speaker for one in read_corpus(data_root / "librispeech_excerpts").utterances if one.split == "held_out"
    }
    assert not held_out & {one.speaker for one in (*parts.train, *parts.validation)}
