"""The first convolution for several places at once: the same embeddings to the last bit, and a graph that the runtime's readers take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edge_lupi.bundle.graph_bounds import check_graph
from edge_lupi.compile.graphs.export import encoder_graph
from edge_lupi.compile.graphs.optimised import optimised_graph
from edge_lupi.compile.graphs.places import several_places
from edge_lupi.compile.graphs.quantised import signed_int8, unsigned_int8
from edge_lupi.frames import Segmentation
from edge_lupi.models.files import load_student
from edge_lupi.models.rounding import convolutions, points
from edge_lupi.models.student import Student, StudentConfig
from edge_lupi.runtime.engines.onnx_runtime import OnnxEngine
from edge_lupi.task import Task

STUDENTS = Path(__file__).resolve().parents[3] / "train" / "students"


def _log_mel(frames: int) -> np.ndarray:
    return np.random.default_rng(0).normal(-6, 3, (3, 80, 1, frames)).astype(np.float32)


def _untrained(size: str, seconds: float) -> onnx.ModelProto:
    """The int8 encoder of a size with random weights."""
    torch.manual_seed(0)
    student = Student(
        StudentConfig(size, "sequential", Segmentation(seconds, 0.25), (Task("speaker", "verification"),))
    )
    ranges = {name: torch.tensor(8.0) for name, _ in points(student.encoder.fold())}
    ranges |= {f"{n}.weight": conv.weight.detach().abs().amax((1, 2, 3)) for n, conv in convolutions(student.encoder)}
    return unsigned_int8(signed_int8(encoder_graph(student, ranges)))


def _kernel(model: onnx.ModelProto) -> list[int]:
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    return next(list(item.ints) for item in conv.attribute if item.name == "kernel_shape")


def _embeddings(model: onnx.ModelProto, log_mel: np.ndarray) -> np.ndarray:
    return OnnxEngine(model.SerializeToString()).run({"log_mel": log_mel})["embedding"]


@pytest.mark.parametrize("task", ["speaker", "emotion"])
def test_the_shipped_students_answer_the_same_to_the_last_bit(task: str) -> None:
    trained = load_student(STUDENTS / f"{task}.pt")
    plain = unsigned_int8(signed_int8(encoder_graph(trained.student, trained.ranges)))
    made, log_mel = several_places(plain), _log_mel(trained.student.config.segmentation.frames)
    assert _kernel(made)[1] > _kernel(plain)[1]
    np.testing.assert_array_equal(_embeddings(made, log_mel), _embeddings(plain, log_mel))
    np.testing.assert_array_equal(_embeddings(made, log_mel[:1]), _embeddings(plain, log_mel[:1]))
    assert [node.op_type for node in optimised_graph(made.SerializeToString()).graph.node].count("Transpose") <= [
        node.op_type for node in optimised_graph(plain.SerializeToString()).graph.node
    ].count("Transpose")


@pytest.mark.parametrize(("size", "seconds", "width"), [("nano", 0.8, 21), ("mini", 0.6, 22), ("dense", 0.5, 11)])
def test_every_kind_of_first_convolution(size: str, seconds: float, width: int) -> None:
    plain = _untrained(size, seconds)
    made, log_mel = several_places(plain), _log_mel(round(seconds * 100))
    assert _kernel(made)[1] == width
    check_graph(made.SerializeToString(), "encoder.onnx")
    np.testing.assert_array_equal(_embeddings(made, log_mel), _embeddings(plain, log_mel))


def test_a_width_that_nothing_divides_stays_as_it_is() -> None:
    plain = _untrained("nano", 0.45)  # 23 places
    assert several_places(plain) == plain
