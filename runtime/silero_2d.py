"""Silero VAD's own weights as 2-D convolutions over all chunks at once: the same probabilities for a third of the time.

    python runtime/silero_2d.py silero_vad_16k_sequence.onnx edge_lupi/bundles/silero_vad/silero_vad.onnx

Silero's graph convolves every chunk of 32 ms for itself: sixteen thin products for a hop of half a second. Here the chunks
are the rows of one picture, so each layer is one product. The four layers see one chunk as before (a kernel of 1 x 3 never
reaches into the next row), and the LSTM runs over the rows in their order. The STFT before them, which is a convolution
there, is left to an FFT: `edge_lupi.runtime.gates.silero.magnitudes`.

In: `magnitudes` float32 [1, 144, n, 4], of 129 bins and then zeros, four frames a chunk; state `h` and `c` float32
[1, 1, 128]. Out: `speech_probs` float32 [n], `hn`, `cn`.
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
BINS = 144


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
    """Silero VAD 6 (16 kHz, a sequence of chunks) -> the same behind its STFT, all chunks in one product a layer."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in original.graph.initializer}
    graph = Graph()
    _probabilities(graph, _convolved(graph, "magnitudes", weights), weights)
    floats = TensorProto.FLOAT
    state = [helper.make_tensor_value_info(name, floats, STATE) for name in ("h", "c")]
    after = [helper.make_tensor_value_info(name, floats, STATE) for name in ("hn", "cn")]
    heard = helper.make_tensor_value_info("magnitudes", floats, [1, BINS, "n", 4])
    spoken = helper.make_tensor_value_info("speech_probs", floats, ["n"])
    made = helper.make_graph(graph.nodes, "silero_vad", [heard, *state], [spoken, *after], graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def _convolved(graph: Graph, features: str, weights: dict[str, Array]) -> str:
    """Four layers, their strides along a chunk: [1, 144, n, 4] -> a sequence [n, 1, 128]."""
    for layer, stride in enumerate(STRIDES):
        weight = weights[f"encoder.{layer}.weight"][:, :, None, :]
        zeros = -weight.shape[1] % 16  # of the bins that are none
        kernel = graph.constant(f"kernel_{layer}", np.pad(weight, ((0, 0), (0, zeros), (0, 0), (0, 0))))
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
