"""ONNX graphs of what the runtime computes between a bundle's own: level normalisation before the encoder, softmax after the scores.

Batch is free, float32, the opset and IR version of the bundle's graphs: whatever server reads those reads these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_lupi.bundle.graph_bounds import OPSET
from edge_lupi.frames import LOG_FLOOR, MELS
from edge_lupi.runtime.gates.gate import FULL_SCALE_POWER
from edge_lupi.runtime.level import MOST_DB

__all__ = ["IR_VERSION", "header_graph", "level_graph"]

IR_VERSION = 8  # what torch writes with opset 17; ONNX Runtime reads both since 1.12
NEPER = 10 / math.log(10)  # dB for each natural logarithm of power


def level_graph(frames: int, least_db: float) -> bytes:
    """log_mel [B, 80, 1, F] -> raised [B, 80, 1, F]: what `runtime.level.Level` does for a student of that `least_db`."""
    nodes = [
        helper.make_node("Exp", ["log_mel"], ["power"]),
        helper.make_node("ReduceSum", ["power", "mels"], ["of_frames"], keepdims=1),
        helper.make_node("ReduceMean", ["of_frames"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Div", ["mean", "full_scale"], ["share"]),
        helper.make_node("Log", ["share"], ["level"]),
        helper.make_node("Sub", ["least", "level"], ["missing"]),
        helper.make_node("Clip", ["missing", "nothing", "most"], ["gain_log"]),
        helper.make_node("Exp", ["gain_log"], ["gain"]),
        helper.make_node("Sub", ["power", "floor"], ["above"]),
        helper.make_node("Max", ["above", "nothing"], ["sound"]),
        helper.make_node("Mul", ["sound", "gain"], ["louder"]),
        helper.make_node("Add", ["louder", "floor"], ["with_floor"]),
        helper.make_node("Log", ["with_floor"], ["anew"]),
        helper.make_node("Greater", ["gain_log", "nothing"], ["is_quiet"]),
        helper.make_node("Where", ["is_quiet", "anew", "log_mel"], ["raised"]),
    ]
    constants = {
        "full_scale": FULL_SCALE_POWER,
        "least": least_db / NEPER,
        "nothing": 0.0,
        "most": MOST_DB / NEPER,
        "floor": LOG_FLOOR,
    }
    tables = [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in constants.items()]
    tables.append(numpy_helper.from_array(np.array([1], np.int64), "mels"))
    shape = ("batch", MELS, 1, frames)
    return _graph("level", nodes, _tensor("log_mel", shape), _tensor("raised", shape), tables)


def header_graph(labels: int, temperature: float) -> bytes:
    """scores [B, C] -> probability [B, C]: softmax at the task's temperature."""
    nodes = [
        helper.make_node("Div", ["scores", "temperature"], ["scaled"]),
        helper.make_node("Softmax", ["scaled"], ["probability"], axis=-1),
    ]
    tables = [numpy_helper.from_array(np.array(temperature, np.float32), "temperature")]
    shape = ("batch", labels)
    return _graph("header", nodes, _tensor("scores", shape), _tensor("probability", shape), tables)


def _tensor(name: str, shape: Sequence[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def _graph(
    name: str,
    nodes: Sequence[onnx.NodeProto],
    taken: onnx.ValueInfoProto,
    given: onnx.ValueInfoProto,
    tables: Sequence[onnx.TensorProto],
) -> bytes:
    graph = helper.make_graph(list(nodes), name, [taken], [given], list(tables))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString()
    return data
