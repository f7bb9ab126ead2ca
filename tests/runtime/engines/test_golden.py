"""The first run of a bundle: every branch must give its golden answers, in the shapes and types that it promises."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edge_lupi.bundle.bundle import Bundle, shipped_bundle
from edge_lupi.bundle.write import write_bundle
from edge_lupi.errors import BundleError
from edge_lupi.runtime.compiled_student import CompiledStudent

TASKS = ("speaker", "emotion")


def rewritten(folder: Path, task: str, **files: bytes) -> Bundle:
    """The shipped bundle with some files changed and every hash right."""
    found = Bundle.load(shipped_bundle(task))
    write_bundle(folder / "x.lupi", found.manifest, {**found.files, **files}, found.tasks)
    return Bundle.load(folder / "x.lupi")


def weights_changed(graph: bytes, change: Callable[[Any], Any]) -> bytes:
    model = onnx.load_from_string(graph)
    for item in model.graph.initializer:
        values = numpy_helper.to_array(item)
        if values.ndim == 2:
            item.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(change(values)), item.name))
    return model.SerializeToString()  # type: ignore[no-any-return]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda values: values[::-1], "expected the golden answers of task"),
        (lambda values: values * np.float32(np.nan), "utterance holds numbers that are none|next_state holds"),
    ],
    ids=["another's weights", "no numbers"],
)
def test_an_aggregator_that_gives_something_else(
    tmp_path: Path, task: str, change: Callable[[Any], Any], words: str
) -> None:
    name = f"aggregator.{task}.onnx"
    graph = weights_changed(Bundle.load(shipped_bundle(task)).file(name), change)
    with pytest.raises(BundleError, match=words):
        CompiledStudent(rewritten(tmp_path, task, **{name: graph}))


def wider(graph: bytes) -> bytes:
    """Its utterance is as wide as its state, and called what it should be."""
    model = onnx.load_from_string(graph)
    model.graph.output[0].name, model.graph.output[1].name = "next_state", "utterance"
    for node in model.graph.node:
        swap = {"utterance": "next_state", "next_state": "utterance"}
        node.output[:] = [swap.get(name, name) for name in node.output]
        node.input[:] = [swap.get(name, name) for name in node.input]
    for value, width in zip(model.graph.output, (128, 257), strict=True):
        value.type.tensor_type.shape.dim[1].dim_value = width
    return model.SerializeToString()  # type: ignore[no-any-return]


def test_results_under_each_others_names(tmp_path: Path) -> None:
    graph = wider(Bundle.load(shipped_bundle("speaker")).file("aggregator.speaker.onnx"))
    with pytest.raises(BundleError, match="expected next_state as float32"):
        CompiledStudent(rewritten(tmp_path, "speaker", **{"aggregator.speaker.onnx": graph}))


GOLDEN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no utterance": lambda g: g.pop("utterance.speaker"),
    "no sound": lambda g: g.update(samples=np.zeros(0, np.int16)),
    "an hour of sound": lambda g: g.update(samples=np.zeros(3600 * 16000, np.int16)),
    "sound of floats": lambda g: g.update(samples=g["samples"].astype(np.float32)),
    "sound of two channels": lambda g: g.update(samples=g["samples"].reshape(2, -1)),
    "embeddings that are no numbers": lambda g: g["embeddings"].fill(np.nan),
    "embeddings of doubles": lambda g: g.update(embeddings=g["embeddings"].astype(np.float64)),
    "one embedding too few": lambda g: g.update(embeddings=g["embeddings"][1:]),
    "embeddings in a row": lambda g: g.update(embeddings=g["embeddings"].ravel()),
    "a log-mel of other frames": lambda g: g.update(log_mel=g["log_mel"][:, 1:]),
    "an utterance of another width": lambda g: g.update({"utterance.speaker": np.zeros(3, np.float32)}),
    "scores that no label has": lambda g: g.update({"scores.speaker": np.zeros(3, np.float32)}),
}


@pytest.mark.parametrize("kind", GOLDEN)
def test_golden_vectors_that_are_none(tmp_path: Path, kind: str) -> None:
    arrays = Bundle.load(shipped_bundle("speaker")).golden()
    GOLDEN[kind](arrays)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    with pytest.raises(BundleError, match=r"golden.npz in .* (lacks|does not fit its student|cannot be read)"):
        CompiledStudent(rewritten(tmp_path, "speaker", **{"golden.npz": buffer.getvalue()}))


@pytest.mark.parametrize("task", TASKS)
def test_the_shipped_bundles_pass(task: str) -> None:
    assert CompiledStudent(Bundle.load(shipped_bundle(task))).runs_on == "CPU"
