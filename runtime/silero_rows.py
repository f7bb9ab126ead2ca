"""Silero VAD's own weights as matrix products over the chunks of any number of streams: the same probabilities for less time.

    python runtime/silero_rows.py silero_vad_16k_sequence.onnx edge_lupi/bundles/silero_vad/silero_vad.onnx

Silero's graph convolves every chunk of 32 ms for itself: sixteen thin products for a hop of half a second. Here the chunks
are rows, so each layer is one product or two, whoever's chunks they are; what a kernel would hear of the zeros around a
chunk is left out. The LSTM takes a step of all streams at once. The STFT in front, which is a convolution there, is left
to an FFT: `edge_lupi.runtime.gates.silero_graph.spectra`.

    spectra [4 n, 387] ─► four layers ─► [n, 128] ─► rows in each stream's order [T, B] ─► LSTM ─► probabilities [T, B]

In: `spectra` float32 [4 n, 387], four of a chunk, each with its neighbours before and after; `order` int64 [T, B], which of the
n chunks is the t-th of a run; `lengths` int32 [B] of the runs; their states `h` and `c` float32 [1, B, 128]. Out:
`speech_probs` float32 [T, B], behind the end of a run without meaning; `hn`, `cn`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
STATE = [1, "B", 128]


class Graph:
    """Nodes and constants in the order of the data, each value called by what it is."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Array) -> str:
        """Add numbers; gives their name back."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, operator: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:
        """Add an operator; gives the name of its first output."""
        self.nodes.append(helper.make_node(operator, inputs, list(outputs), **attributes))
        return outputs[0]

    def product(self, rows: str, weight: Array, bias: str, name: str) -> str:
        """Rows by weights [in, out], and a bias."""
        return self.node("Gemm", [rows, self.constant(f"{name}_weight", weight), bias], name)

    def columns(self, rows: str, first: int, last: int, name: str) -> str:
        """Columns [first, last) of rows."""
        bounds = [self.constant(f"{name}_{end}", np.array([at])) for end, at in (("first", first), ("last", last))]
        return self.node("Slice", [rows, *bounds, self.constant(f"{name}_axis", np.array([1]))], name)


def silero_rows(original: onnx.ModelProto) -> onnx.ModelProto:
    """Silero VAD 6 (16 kHz, a sequence of chunks) -> the same behind its STFT, for runs of chunks of several streams."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in original.graph.initializer}
    graph = Graph()
    _probabilities(graph, _layers(graph, weights), weights)
    floats, value = TensorProto.FLOAT, helper.make_tensor_value_info
    inputs = [
        value("spectra", floats, ["rows", 387]),
        value("order", TensorProto.INT64, ["T", "B"]),
        value("lengths", TensorProto.INT32, ["B"]),
        *(value(name, floats, STATE) for name in ("h", "c")),
    ]
    outputs = [value("speech_probs", floats, ["T", "B"]), *(value(name, floats, STATE) for name in ("hn", "cn"))]
    made = helper.make_graph(graph.nodes, "silero_vad", inputs, outputs, graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def _layers(graph: Graph, weights: dict[str, Array]) -> str:
    """Four convolutions along the four spectra of a chunk, with strides 1, 2, 2, 1: [4 n, 387] -> [n, 128]."""
    taps = [weights[f"encoder.{layer}.weight"].transpose(2, 1, 0) for layer in range(4)]  # [3, in, out]
    biases = [graph.constant(f"bias_{layer}", weights[f"encoder.{layer}.bias"]) for layer in range(4)]
    every = graph.product("spectra", taps[0].reshape(387, 128), biases[0], "layer_0")
    four = graph.node("Reshape", [graph.node("Relu", [every], "heard_0"), _shape(graph, "of_a_chunk", 512)], "four")
    begins = graph.product(
        graph.columns(four, 0, 256, "begins"), taps[1][1:].reshape(256, 64), biases[1], "layer_1_begins"
    )
    ends = graph.product(graph.columns(four, 128, 512, "ends"), taps[1].reshape(384, 64), biases[1], "layer_1_ends")
    two = graph.node("Relu", [graph.node("Concat", [begins, ends], "layer_1", axis=1)], "heard_1")
    one = graph.node("Relu", [graph.product(two, taps[2][1:].reshape(128, 64), biases[2], "layer_2")], "heard_2")
    return graph.node("Relu", [graph.product(one, taps[3][1], biases[3], "layer_3")], "heard_3")


def _probabilities(graph: Graph, chunks: str, weights: dict[str, Array]) -> None:
    """LSTM over each run's chunks in their order, and a probability of speech for each."""
    names = ("onnx::LSTM_209", "onnx::LSTM_210", "onnx::LSTM_211")
    lstm = [graph.constant(f"lstm_{part}", weights[name]) for part, name in zip("wrb", names, strict=True)]
    runs = graph.node("Gather", [chunks, "order"], "runs", axis=0)
    graph.node("LSTM", [runs, *lstm, "lengths", "h", "c"], "steps", "hn", "cn", hidden_size=128)
    flat = graph.node("Relu", [graph.node("Reshape", ["steps", _shape(graph, "as_steps", 128)], "flat")], "active")
    bias = graph.constant("output_bias", weights["output.bias"])
    scores = graph.product(flat, weights["output.weight"][:, :, 0].T, bias, "scores")
    column = graph.node("Sigmoid", [scores], "probabilities")
    graph.node("Reshape", [column, graph.node("Shape", ["order"], "as_order")], "speech_probs")


def _shape(graph: Graph, name: str, columns: int) -> str:
    return graph.constant(name, np.array([-1, columns]))


def main() -> None:
    """Read one file, write the other."""
    source, target = (Path(argument) for argument in sys.argv[1:3])
    target.write_bytes(silero_rows(onnx.load(source)).SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
