"""The first convolution of an int8 encoder for ONNX Runtime: several places along time at once. Q/DQ model -> the same to the last bit.

It reads one channel, so the runtime gathers its few products byte by byte, which takes five times as long as they do. A wider kernel
that answers for several places at once, with zeros where a place does not look, has more products and is gathered less.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

__all__ = ["several_places"]

MOST_PLACES = 10


def several_places(model: ModelProto) -> ModelProto:
    """A copy whose first convolution answers for up to ten places at once, as many as divide those along time."""
    made = ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    conv = next(node for node in graph.node if node.op_type == "Conv")
    lengths = _lengths(model)
    outputs, high, wide = lengths[conv.output[0]]
    places = max(count for count in range(1, MOST_PLACES + 1) if wide % count == 0)
    if places == 1 or lengths[conv.input[0]][0] != 1:
        return made
    _widen(made, conv, places, lengths[conv.input[0]][2], wide // places)
    relu = _reader(graph, conv.output[0])
    _apart(graph, _reader(graph, relu.output[0]), (high, wide, outputs))
    del graph.value_info[:]
    onnx.checker.check_model(made, full_check=True)
    return made


def _lengths(model: ModelProto) -> dict[str, list[int]]:
    """Channels, height and width of every tensor [B, C, H, W] that is computed."""
    known = onnx.shape_inference.infer_shapes(model).graph.value_info
    shapes = {item.name: [length.dim_value for length in item.type.tensor_type.shape.dim] for item in known}
    return {name: shape[1:] for name, shape in shapes.items() if len(shape) == 4}


def _widen(model: ModelProto, conv: NodeProto, places: int, width: int, steps: int) -> None:
    """Let a convolution of a picture so wide take `steps` steps, and give all channels of the first place, then of the next."""
    rounded = next(node for node in model.graph.node if node.output[0] == conv.input[1])
    weight, scale, zero = (_constant(model, name) for name in rounded.input)
    stride, (top, left, bottom, _) = _ints(conv, "strides")[1], _ints(conv, "pads")
    count, _, high, wide = weight.shape
    kernel = np.zeros((places, count, 1, high, wide + stride * (places - 1)), weight.dtype)
    for place in range(places):
        kernel[place, ..., stride * place : stride * place + wide] = weight
    reach = stride * places * (steps - 1) + kernel.shape[-1]
    rounded.input[0] = _added(model, f"{rounded.input[0]}.places", kernel.reshape(places * count, *kernel.shape[2:]))
    rounded.input[1] = _added(model, f"{rounded.input[1]}.places", np.tile(scale, places))
    rounded.input[2] = _added(model, f"{rounded.input[2]}.places", np.tile(zero, places))
    conv.input[2] = _added(model, f"{conv.input[2]}.places", np.tile(_constant(model, conv.input[2]), places))
    changed = {
        "kernel_shape": kernel.shape[-2:],
        "strides": (_ints(conv, "strides")[0], stride * places),
        "pads": (top, left, bottom, max(0, reach - width - left)),
    }
    kept = [item for item in conv.attribute if item.name not in changed]
    del conv.attribute[:]
    conv.attribute.extend([*kept, *(helper.make_attribute(name, value) for name, value in changed.items())])


def _apart(graph: onnx.GraphProto, rounding: NodeProto, shape: Sequence[int]) -> None:
    """Read the rounded channels of several places as [H, W, C] of one each: the same bytes in the order that the runtime keeps."""
    name = rounding.output[0]
    rounding.output[0] = f"{name}.places"
    graph.initializer.append(numpy_helper.from_array(np.array([-1, *shape]), f"{name}.shape"))
    moves = [
        helper.make_node("Transpose", [f"{name}.places"], [f"{name}.last"], f"{name}.last", perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", [f"{name}.last", f"{name}.shape"], [f"{name}.apart"], f"{name}.apart"),
        helper.make_node("Transpose", [f"{name}.apart"], [name], f"{name}.first", perm=[0, 3, 1, 2]),
    ]
    behind = list(graph.node).index(rounding) + 1
    for offset, node in enumerate(moves):
        graph.node.insert(behind + offset, node)


def _reader(graph: onnx.GraphProto, name: str) -> NodeProto:
    return next(node for node in graph.node if name in node.input)


def _constant(model: ModelProto, name: str) -> NDArray[Any]:
    value: NDArray[Any] = numpy_helper.to_array(next(item for item in model.graph.initializer if item.name == name))
    return value


def _added(model: ModelProto, name: str, value: NDArray[Any]) -> str:
    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
    return name


def _ints(node: NodeProto, name: str) -> list[int]:
    return next(list(item.ints) for item in node.attribute if item.name == name)
