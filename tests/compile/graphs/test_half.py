"""fp16 by casts: products in float16, what must not lose digits in float32, the same names outside."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto

from edge_lupi.compile.graphs.export import aggregator_graph, encoder_graph
from edge_lupi.compile.graphs.half import half_graph
from edge_lupi.runtime.engines.onnx_runtime import OnnxEngine

FLOAT32_ALWAYS = {"Log", "ReduceMean", "Sqrt", "Tanh", "Exp", "Div", "ReduceL2", "Clip", "Sub", "Mul"}


@pytest.fixture(scope="module", params=["encoder", "mood", "speaker"])
def graph(request: pytest.FixtureRequest, make_grid_student: Callable[[], Any]) -> ModelProto:
    student = make_grid_student().student
    return encoder_graph(student) if request.param == "encoder" else aggregator_graph(student, request.param)


def types(model: ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    known = {item.name: item.type.tensor_type.elem_type for item in (*inferred.value_info, *inferred.output, *inferred.input)}  # fmt: skip
    return known | {item.name: item.data_type for item in inferred.initializer}


def test_products_are_float16_and_the_rest_is_not(graph: ModelProto) -> None:
    half = half_graph(graph)
    known = types(half)
    kinds: dict[str, set[int]] = {}
    for node in half.graph.node:
        kinds.setdefault(node.op_type, set()).update(known[name] for name in node.output)
    assert all(kinds.get(name, {TensorProto.FLOAT16}) == {TensorProto.FLOAT16} for name in ("Conv", "Gemm"))
    assert all(kinds.get(name, {TensorProto.FLOAT}) == {TensorProto.FLOAT} for name in FLOAT32_ALWAYS)
    assert {known[item.name] for item in (*half.graph.input, *half.graph.output)} == {TensorProto.FLOAT}
    adds = [node for node in half.graph.node if node.op_type == "Add" and "blocks" in node.name]
    assert all(known[node.output[0]] == TensorProto.FLOAT16 for node in adds)


def test_no_cast_stands_between_two_float16_layers(graph: ModelProto) -> None:
    half = half_graph(graph)
    made_by = {name: node for node in half.graph.node for name in node.output}
    casts = [node for node in half.graph.node if node.op_type == "Cast"]
    assert not [node for node in casts if getattr(made_by.get(node.input[0]), "op_type", "") == "Cast"]


def test_it_gives_nearly_the_same(graph: ModelProto) -> None:
    half = half_graph(graph)
    draw = np.random.default_rng(0)
    shapes = {i.name: [d.dim_value or 3 for d in i.type.tensor_type.shape.dim] for i in graph.graph.input}
    shift = -8 if "log_mel" in shapes else 0
    values = {name: (draw.normal(shift, 1, shape)).astype(np.float32) for name, shape in shapes.items()}
    if "state" in values:
        values["state"] = np.abs(values["state"])
    wanted, found = (OnnxEngine(m.SerializeToString()).run(values) for m in (graph, half))
    assert found.keys() == wanted.keys()
    for name in wanted:
        scale = np.abs(wanted[name]).max()
        np.testing.assert_allclose(found[name], wanted[name], atol=5e-3 * scale, rtol=0)
    assert sum(i.ByteSize() for i in half.graph.initializer) < 0.6 * sum(i.ByteSize() for i in graph.graph.initializer)


def test_its_argument_is_left_alone(graph: ModelProto) -> None:
    before = graph.SerializeToString()
    half_graph(graph)
    assert graph.SerializeToString() == before
