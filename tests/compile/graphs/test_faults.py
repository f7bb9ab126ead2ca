"""A graph that would not run in int8 throughout is noticed, whatever is wrong with it."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edge_lupi.compile.graphs.export import encoder_graph
from edge_lupi.compile.graphs.faults import int8_faults
from edge_lupi.compile.graphs.quantised import signed_int8, unsigned_int8
from edge_lupi.frames import Segmentation
from edge_lupi.models.rounding import convolutions, points
from edge_lupi.models.student import Student, StudentConfig
from edge_lupi.task import Task


@pytest.fixture(scope="module")
def signed(make_grid_student: Callable[[], Any]) -> ModelProto:
    trained = make_grid_student()
    return signed_int8(encoder_graph(trained.student, trained.ranges))


def test_the_students_grid_is_well_formed(signed: ModelProto) -> None:
    assert int8_faults(signed) == []
    kinds = [node.op_type for node in signed.graph.node]
    assert kinds.count("Conv") > 5
    assert kinds.count("Relu") > 3


@pytest.mark.parametrize("size", ["mini", "base"])
def test_the_larger_sizes_too(size: str) -> None:
    student = Student(StudentConfig(size, "sequential", Segmentation(0.5, 0.25), (Task("speaker", "verification"),)))
    ranges = {name: torch.tensor(1.0) for name, _ in points(student.encoder)}
    ranges |= {f"{n}.weight": c.weight.detach().abs().amax((1, 2, 3)) for n, c in convolutions(student.encoder)}
    assert int8_faults(signed_int8(encoder_graph(student, ranges))) == []


def bypass(model: ModelProto, tensor: str, readers: Callable[[NodeProto], bool]) -> None:
    """Let these readers of a Q/DQ pair's result read what went into the pair."""
    made_by = {n.output[0]: n for n in model.graph.node}
    before = made_by[made_by[tensor].input[0]].input[0]
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == tensor and readers(node):
                node.input[place] = before


def first(model: ModelProto, kind: str, word: str = "") -> NodeProto:
    return next(node for node in model.graph.node if node.op_type == kind and word in node.name)


def float_weight(model: ModelProto) -> None:
    conv = first(model, "Conv", "second")
    shape = [d for i in model.graph.initializer if i.name == _stored(model, conv) for d in i.dims]
    model.graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float32), "float weight"))
    conv.input[1] = "float weight"


def _stored(model: ModelProto, conv: NodeProto) -> str:
    return next(node.input[0] for node in model.graph.node if node.output[0] == conv.input[1])


def one_scale_for_all_channels(model: ModelProto) -> None:
    conv = first(model, "Conv", "second")
    rounding = next(node for node in model.graph.node if node.output[0] == conv.input[1])
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.1), "one scale"))
    rounding.input[1] = "one scale"


def no_pair_before_a_convolution(model: ModelProto) -> None:
    conv = first(model, "Conv", "second")
    bypass(model, conv.input[0], lambda node: node.name == conv.name)


def no_pair_before_an_add(model: ModelProto) -> None:
    add = first(model, "Add", "blocks")
    bypass(model, add.input[0], lambda node: node.name == add.name)


def no_pair_after_a_convolution(model: ModelProto) -> None:
    conv = first(model, "Conv", "project")
    rounding = next(node for node in model.graph.node if conv.output[0] in node.input)
    after = next(node for node in model.graph.node if rounding.output[0] in node.input)
    bypass(model, after.output[0], lambda node: True)
    model.graph.node.remove(after)
    model.graph.node.remove(rounding)


def weights_of_16_bits(model: ModelProto) -> None:
    stored = _stored(model, first(model, "Conv", "second"))
    weight = next(item for item in model.graph.initializer if item.name == stored)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.int16), stored))


def no_pair_after_a_relu(model: ModelProto) -> None:
    relu = first(model, "Relu", "blocks")
    pair = next(node for node in model.graph.node if relu.output[0] in node.input)
    after = next(node for node in model.graph.node if pair.output[0] in node.input)
    bypass(model, after.output[0], lambda node: True)


def another_zero_point(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.int8(3), "three"))
    first(model, "QuantizeLinear", "stem").input[2] = "three"


BROKEN = {
    float_weight: r"second/conv/Conv: its weight is not int8",
    one_scale_for_all_channels: r"second/conv/Conv: expected one weight scale per output channel, got shape \(\)",
    weights_of_16_bits: r"second/conv/Conv: its weight is not int8",
    no_pair_after_a_convolution: r"project/Conv: its result is not rounded by a Q/DQ pair",
    no_pair_before_a_convolution: r"second/conv/Conv: reads .* without a Q/DQ pair",
    no_pair_before_an_add: r"/Add: reads .* without a Q/DQ pair",
    no_pair_after_a_relu: r"(relu/Relu: its result is not rounded|reads .* without a Q/DQ pair)",
    another_zero_point: r"stem/.*QuantizeLinear: expected signed int8 with zero point 0",
}


@pytest.mark.parametrize("break_it", BROKEN, ids=lambda f: f.__name__)
def test_what_is_broken_is_named(signed: ModelProto, break_it: Callable[[ModelProto], None]) -> None:
    broken = ModelProto()
    broken.CopyFrom(signed)
    break_it(broken)
    assert re.search(BROKEN[break_it], "\n".join(int8_faults(broken)))


def test_the_cpus_grid_is_not_tensorrts(signed: ModelProto) -> None:
    assert all("expected signed int8" in fault for fault in int8_faults(unsigned_int8(signed)))
    assert int8_faults(unsigned_int8(signed))


def test_a_float_graph_has_nothing_right(make_grid_student: Callable[[], Any]) -> None:
    faults = "\n".join(int8_faults(encoder_graph(make_grid_student().student)))
    assert "stem/conv/Conv: its weight is not int8" in faults
    assert "relu/Relu: its result is not rounded" in faults


def convolution_graph(dimensions: int) -> ModelProto:
    """A well-formed int8 convolution in one or two dimensions: x [1, 2, ...] -> y [1, 4, ...]."""
    spatial = [8] * dimensions
    weight = np.ones((4, 2, *([3] * dimensions)), np.int8)
    stored = {
        "w": weight,
        "ws": np.ones(4, np.float32),
        "wz": np.zeros(4, np.int8),
        "s": np.float32(1),
        "z": np.int8(0),
    }
    node = helper.make_node
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["xq"], name="xq"),
        node("DequantizeLinear", ["xq", "s", "z"], ["xd"], name="xd"),
        node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], name="wd", axis=0),
        node("Conv", ["xd", "wd"], ["c"], name="conv"),
        node("QuantizeLinear", ["c", "s", "z"], ["cq"], name="cq"),
        node("DequantizeLinear", ["cq", "s", "z"], ["y"], name="y"),
    ]
    value = helper.make_tensor_value_info
    out = [size - 2 for size in spatial]
    graph = helper.make_graph(
        nodes,
        "convolution",
        [value("x", TensorProto.FLOAT, [1, 2, *spatial])],
        [value("y", TensorProto.FLOAT, [1, 4, *out])],
        [numpy_helper.from_array(np.asarray(item), name) for name, item in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def test_the_matrix_product_of_an_unrounded_weight() -> None:
    model = convolution_graph(2)
    product = helper.make_node("MatMul", ["y", "float weight"], ["z"], name="product")
    model.graph.node.append(product)
    model.graph.initializer.append(numpy_helper.from_array(np.ones((6, 6), np.float32), "float weight"))
    assert int8_faults(model) == [
        "product: its weight is not int8",
        "product: its result is not rounded by a Q/DQ pair",
    ]


@pytest.mark.parametrize(("dimensions", "faults"), [(2, []), (1, ["conv: the convolution is not 2-D"])])
def test_a_convolution_in_one_dimension(dimensions: int, faults: list[str]) -> None:
    assert int8_faults(convolution_graph(dimensions)) == faults
