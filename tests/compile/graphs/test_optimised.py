"""What runs in 8 bits is counted in the graph that ONNX Runtime really runs."""

import tempfile
from collections.abc import Callable
from typing import Any

import pytest
from onnx import ModelProto

from edge_lupi.compile.findings import Int8Share
from edge_lupi.compile.graphs.export import encoder_graph
from edge_lupi.compile.graphs.optimised import int8_share
from edge_lupi.compile.graphs.quantised import signed_int8, unsigned_int8
from edge_lupi.compile.student import encoders
from edge_lupi.models.rounding import convolutions


@pytest.fixture(scope="module")
def trained(make_grid_student: Callable[[], Any]) -> Any:
    return make_grid_student()


def counted(graph: ModelProto) -> Int8Share:
    share = int8_share(graph.SerializeToString())
    assert share is not None
    return share


def test_every_layer_of_int8_and_none_of_fp32(trained: Any) -> None:
    layers = len(dict(convolutions(trained.student.encoder)))
    shares = {name: counted(graph) for name, graph in encoders(trained).items()}
    assert (shares["fp32"].layers, shares["fp32"].of_layers, shares["fp32"].nodes) == (0, layers, 0)
    assert (shares["int8"].layers, shares["int8"].of_layers) == (layers, layers)
    assert layers < shares["int8"].nodes < shares["int8"].of_nodes  # pooling stays in float


def test_the_signed_grid_is_worse_on_x86(trained: Any) -> None:
    """Why the CPU gets the unsigned one: residual adds and ReLUs between signed tensors are left in float."""
    signed = signed_int8(encoder_graph(trained.student, trained.ranges))
    before, after = (counted(graph) for graph in (signed, unsigned_int8(signed)))
    assert before.nodes / before.of_nodes < after.nodes / after.of_nodes


def test_a_layer_in_float_is_seen(trained: Any) -> None:
    graph = encoders(trained)["int8"]
    conv = next(node for node in graph.graph.node if node.op_type == "Conv" and "second" in node.name)
    rounding = {node.output[0]: node for node in graph.graph.node}
    conv.input[0] = rounding[rounding[conv.input[0]].input[0]].input[0]  # reads what went into its Q/DQ pair
    share = counted(graph)
    assert share.layers < share.of_layers


def test_without_room_for_it_nothing_is_counted(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    assert int8_share(encoders(trained)["fp32"].SerializeToString()) is None
