"""One grid, three ways to run it: torch, signed Q/DQ, and unsigned Q/DQ for ONNX Runtime on x86."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper

from edge_lupi.compile.graphs.export import encoder_graph
from edge_lupi.compile.graphs.quantised import float_layers, signed_int8, unsigned_int8, without_inner_pairs
from edge_lupi.frames import Segmentation
from edge_lupi.models.files import TrainedStudent
from edge_lupi.models.front_end import cut, log_mel
from edge_lupi.models.rounding import convolutions, fix_ranges, points
from edge_lupi.runtime.engines.onnx_runtime import OnnxEngine

Array = NDArray[np.float32]


@pytest.fixture(scope="module")
def trained(make_grid_student: Callable[[], TrainedStudent]) -> TrainedStudent:
    return make_grid_student()


@pytest.fixture(scope="module")
def exported(trained: TrainedStudent) -> ModelProto:
    return encoder_graph(trained.student, trained.ranges)


@pytest.fixture(scope="module")
def signed(exported: ModelProto) -> ModelProto:
    return signed_int8(exported)


@pytest.fixture(scope="module")
def unsigned(signed: ModelProto) -> ModelProto:
    return unsigned_int8(signed)


@pytest.fixture(scope="module")
def heard(voice: Callable[..., Any]) -> Array:
    """log-mel [S, 80, 1, 50] of voices that no range was measured on."""
    sounds = torch.from_numpy(np.stack([voice(seed, 2.0) for seed in range(50, 55)]))
    return cut(log_mel(sounds), Segmentation(0.5, 0.25)).flatten(0, 1).contiguous().numpy()


@pytest.fixture(scope="module")
def in_torch(make_grid_student: Callable[[], TrainedStudent], heard: Array) -> Array:
    rounded = make_grid_student()
    fix_ranges(rounded.student.encoder, rounded.ranges)
    with torch.no_grad():
        return rounded.student.encoder(torch.from_numpy(heard)).numpy()


def cosines(a: Array, b: Array) -> Array:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize("form", ["exported", "signed", "unsigned"])
def test_the_graph_gives_what_torch_gives(
    request: pytest.FixtureRequest, form: str, heard: Array, in_torch: Array
) -> None:
    """By its definition, operator by operator: what a target makes of it is the target's."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    graph = request.getfixturevalue(form).SerializeToString()
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    assert cosines(session.run(None, {"log_mel": heard})[0], in_torch).min() > 0.999


def test_the_cpus_graph_gives_it_as_it_runs(unsigned: ModelProto, heard: Array, in_torch: Array) -> None:
    found = OnnxEngine(unsigned.SerializeToString()).run({"log_mel": heard})["embedding"]
    assert cosines(found, in_torch).min() > 0.999


def constants(model: ModelProto) -> dict[str, NDArray[Any]]:
    stored = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            stored[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return stored


def nodes(model: ModelProto, kind: str) -> list[NodeProto]:
    return [node for node in model.graph.node if node.op_type == kind]


def test_weights_are_stored_as_int8_with_a_scale_per_channel(trained: TrainedStudent, unsigned: ModelProto) -> None:
    known, made_by = constants(unsigned), {n.output[0]: n for n in unsigned.graph.node}
    assert len(nodes(unsigned, "Conv")) == len(dict(convolutions(trained.student.encoder)))
    for conv in nodes(unsigned, "Conv"):
        weight = made_by[conv.input[1]]
        assert weight.op_type == "DequantizeLinear"
        stored, scale, zero = (known[name] for name in weight.input)
        assert (stored.dtype, zero.dtype, zero.any()) == (np.int8, np.int8, False)
        assert stored.ndim == 4, "TensorRT refuses int8 in one dimension"
        assert scale.shape == (stored.shape[0],)


def test_unsigned_zero_points(signed: ModelProto, unsigned: ModelProto, trained: TrainedStudent) -> None:
    """0 where a ReLU (or the square root) made the tensor, 128 where it may be negative; scales as they were."""
    known, before = constants(unsigned), constants(signed)
    scales = {node.name: before[node.input[1]] for node in nodes(signed, "QuantizeLinear")}
    quantisers = nodes(unsigned, "QuantizeLinear")
    assert len(quantisers) == len(dict(points(trained.student.encoder)))
    for node in quantisers:
        zero = known[node.input[2]]
        may_be_negative = any(part in node.name for part in ("/second/", "/around/")) or node.name.startswith("/out/")
        assert zero.dtype == np.uint8
        assert zero == (128 if may_be_negative else 0), node.name
        assert known[node.input[1]] == scales[node.name]
        (reader,) = {n.op_type for n in unsigned.graph.node if node.output[0] in n.input}
        assert reader == "DequantizeLinear"
    for node in nodes(unsigned, "DequantizeLinear"):
        assert known[node.input[2]].dtype == (np.int8 if node.input[0] in known else np.uint8)


def test_signed_zero_points_are_zero(signed: ModelProto) -> None:
    known = constants(signed)
    for node in (*nodes(signed, "QuantizeLinear"), *nodes(signed, "DequantizeLinear")):
        assert known[node.input[2]].dtype == np.int8
        assert not known[node.input[2]].any()


def test_no_layer_is_left_in_float(unsigned: ModelProto, trained: TrainedStudent) -> None:
    assert float_layers(unsigned) == []
    assert len(float_layers(encoder_graph(trained.student))) == len(dict(convolutions(trained.student.encoder)))


def without_weight_rounding(model: ModelProto, which: int) -> tuple[ModelProto, str]:
    """A copy whose convolution number `which` reads a float weight, and that convolution's name."""
    broken = ModelProto()
    broken.CopyFrom(model)
    made_by, known = {n.output[0]: n for n in broken.graph.node}, constants(broken)
    conv = nodes(broken, "Conv")[which]
    rounding = made_by[conv.input[1]]
    stored, scale = known[rounding.input[0]], known[rounding.input[1]]
    weight = stored.astype(np.float32) * scale.reshape(-1, 1, 1, 1)
    broken.graph.initializer.append(numpy_helper.from_array(weight, "float weight"))
    broken.graph.node.remove(rounding)
    conv.input[1] = "float weight"
    return broken, conv.name


def without_activation_rounding(model: ModelProto, tensor: str) -> ModelProto:
    """A copy where what reads `tensor`, which a Q/DQ pair makes, reads what went into the pair."""
    broken = ModelProto()
    broken.CopyFrom(model)
    made_by = {n.output[0]: n for n in broken.graph.node}
    before = made_by[made_by[tensor].input[0]].input[0]
    for node in broken.graph.node:
        for place, name in enumerate(node.input):
            if name == tensor:
                node.input[place] = before
    return broken


def integer_layers(model: ModelProto, folder: Path) -> int:
    """Convolutions that ONNX Runtime's optimised graph computes in 8 bits."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node]
    return kinds.count("QLinearConv")


@pytest.mark.parametrize("which", [0, 3])
def test_a_broken_graph_is_noticed(unsigned: ModelProto, tmp_path: Path, which: int) -> None:
    broken, name = without_weight_rounding(unsigned, which)
    assert float_layers(broken) == [name]
    conv = nodes(unsigned, "Conv")[which]
    unrounded = without_activation_rounding(unsigned, conv.input[0])
    readers = [node for node in nodes(unsigned, "Conv") if node.input[0] == conv.input[0]]
    assert integer_layers(unrounded, tmp_path) <= len(nodes(unsigned, "Conv")) - len(readers)


def test_onnx_runtime_computes_every_convolution_in_8_bits(unsigned: ModelProto, tmp_path: Path) -> None:
    assert integer_layers(unsigned, tmp_path) == len(nodes(unsigned, "Conv"))


def test_rewriting_leaves_its_argument_alone(signed: ModelProto) -> None:
    before = signed.SerializeToString()
    unsigned_int8(signed)
    assert signed.SerializeToString() == before


def test_for_tensorrt_a_block_sums_before_it_rounds(signed: ModelProto, heard: Array, in_torch: Array) -> None:
    """One Q/DQ pair less in every block, on the way through; the way around stays rounded, and the answers are near."""
    joined = without_inner_pairs(signed)
    sums = [node for node in nodes(joined, "Add") if "blocks" in node.name]
    assert sums
    for node in sums:
        made_by = {n.output[0]: n.op_type for n in joined.graph.node}
        assert [made_by[name] for name in node.input] == ["Conv", "DequantizeLinear"]
    assert len(nodes(signed, "QuantizeLinear")) - len(nodes(joined, "QuantizeLinear")) == len(sums)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(joined.SerializeToString(), options, providers=["CPUExecutionProvider"])
    assert cosines(session.run(None, {"log_mel": heard})[0], in_torch).min() > 0.99


def test_a_float_graph_has_no_pair_to_leave_out(trained: TrainedStudent) -> None:
    as_float = encoder_graph(trained.student)
    assert len(without_inner_pairs(as_float).graph.node) <= len(as_float.graph.node)
