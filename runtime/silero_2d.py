"""Silero VAD's own weights as 2-D convolutions over all chunks at once: the same probabilities for a third of the time.

    python runtime/silero_2d.py silero_vad_16k_sequence.onnx edge_lupi/bundles/silero_vad/silero_vad.onnx

Silero's graph convolves every chunk of 32 ms for itself: sixteen thin products for a hop of half a second. Here the chunks
are the rows of one picture, so each layer is one product. The STFT and the four layers see one chunk as before (a kernel of
1 x 3 never reaches into the next row), and the LSTM runs over the rows in their order.

In and out as Silero's: `input` float32 [n, 576] (64 samples of the chunk before, then 512), state `h` and `c` float32
[1, 1, 128] -> `speech_probs` float32 [n], `hn`, `cn`.
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
STRIDES = (1, 2, 2, 1)  # of the four layers behind the STFT
STATE = [1, 1, 128]


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


def silero_2d(original: onnx.ModelProto) -> onnx.ModelProto:
    """Silero VAD 6 (16 kHz, a sequence of chunks) -> the same function, all chunks in one product a layer."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in original.graph.initializer}
    graph = Graph()
    sequence = _convolved(graph, _magnitudes(graph, weights), weights)
    _probabilities(graph, sequence, weights)
    floats = TensorProto.FLOAT
    state = [helper.make_tensor_value_info(name, floats, STATE) for name in ("h", "c")]
    after = [helper.make_tensor_value_info(name, floats, STATE) for name in ("hn", "cn")]
    chunks = helper.make_tensor_value_info("input", floats, ["n", 576])
    spoken = helper.make_tensor_value_info("speech_probs", floats, ["n"])
    made = helper.make_graph(graph.nodes, "silero_vad", [chunks, *state], [spoken, *after], graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def _magnitudes(graph: Graph, weights: dict[str, Array]) -> str:
    """STFT of 256 points every 128 samples, by convolution as in the original -> [1, 129, n, 4]."""
    padded = graph.node("Pad", ["input", graph.constant("pads", np.array([0, 0, 0, 64]))], "padded", mode="reflect")
    rows = graph.node("Reshape", [padded, graph.constant("as_rows", np.array([1, 1, -1, 640]))], "rows")
    basis = graph.constant("stft_basis", weights["stft.forward_basis_buffer"][:, :, None, :])
    spectrum = graph.node("Conv", [rows, basis], "spectrum", kernel_shape=[1, 256], strides=[1, 128])
    graph.node("Split", [spectrum], "real", "imaginary", axis=1)
    squares = [graph.node("Mul", [part, part], f"{part}_squared") for part in ("real", "imaginary")]
    return graph.node("Sqrt", [graph.node("Add", squares, "power")], "magnitudes")


def _convolved(graph: Graph, features: str, weights: dict[str, Array]) -> str:
    """Four layers, their strides along a chunk -> a sequence [n, 1, 128]."""
    for layer, stride in enumerate(STRIDES):
        kernel = graph.constant(f"kernel_{layer}", weights[f"encoder.{layer}.weight"][:, :, None, :])
        bias = graph.constant(f"bias_{layer}", weights[f"encoder.{layer}.bias"])
        shape = {"kernel_shape": [1, 3], "pads": [0, 1, 0, 1], "strides": [1, stride]}
        convolved = graph.node("Conv", [features, kernel, bias], f"convolved_{layer}", **shape)
        features = graph.node("Relu", [convolved], f"layer_{layer}")
    columns = graph.node("Reshape", [features, graph.constant("as_columns", np.array([1, 128, -1]))], "columns")
    return graph.node("Transpose", [columns], "sequence", perm=[2, 0, 1])


def _probabilities(graph: Graph, sequence: str, weights: dict[str, Array]) -> None:
    """LSTM over the chunks in their order, and a probability of speech for each."""
    names = ("onnx::LSTM_209", "onnx::LSTM_210", "onnx::LSTM_211")
    lstm = [graph.constant(f"lstm_{part}", weights[name]) for part, name in zip("wrb", names, strict=True)]
    graph.node("LSTM", [sequence, *lstm, "", "h", "c"], "steps", "hn", "cn", hidden_size=128)
    flat = graph.node("Reshape", ["steps", graph.constant("as_steps", np.array([-1, 128]))], "flat")
    weight = graph.constant("output_weight", weights["output.weight"][:, :, 0])
    bias = graph.constant("output_bias", weights["output.bias"])
    scores = graph.node("Gemm", [graph.node("Relu", [flat], "active"), weight, bias], "scores", transB=1)
    column = graph.node("Sigmoid", [scores], "probabilities")
    graph.node("Reshape", [column, graph.constant("as_list", np.array([-1]))], "speech_probs")


def main() -> None:
    """Read one file, write the other."""
    source, target = (Path(argument) for argument in sys.argv[1:3])
    target.write_bytes(silero_2d(onnx.load(source)).SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
