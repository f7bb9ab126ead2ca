"""What ONNX Runtime makes of a graph before it runs it: how much of it is computed in 8 bits. Graph -> Int8Share."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnxruntime as ort
from onnx import NodeProto

from edge_lupi.compile.findings import Int8Share

__all__ = ["int8_share", "optimised_graph"]

LAYERS = ("Conv", "FusedConv", "QLinearConv", "Gemm", "FusedGemm", "QGemm", "MatMul", "FusedMatMul", "QLinearMatMul")
MOVES = ("Transpose", "Unsqueeze", "Squeeze", "Flatten", "Reshape", "MaxPool", "Slice", "SpaceToDepth")


def optimised_graph(graph: bytes) -> onnx.ModelProto:
    """The graph as ONNX Runtime's CPU provider runs it on this machine, on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


def int8_share(graph: bytes) -> Int8Share | None:
    """Count; None where the temporary folder has no room for the graph, as a figure less is no reason not to compile.

    A node is in 8 bits if what it gives is: it computes there (QLinear...), rounds, or moves such numbers.
    """
    try:
        nodes = optimised_graph(graph).graph.node
    except Exception:  # OSError, or ONNX Runtime's own family, which says no more than that it could not write
        return None
    narrow: set[str] = set()
    for node in nodes:  # in the order of computation
        if _is_int8(node) or (node.op_type in MOVES and node.input[0] in narrow):
            narrow.update(node.output)
    layers = [node for node in nodes if node.op_type in LAYERS]
    return Int8Share(
        sum(_is_int8(node) for node in layers), len(layers), sum(node.output[0] in narrow for node in nodes), len(nodes)
    )


def _is_int8(node: NodeProto) -> bool:
    return node.op_type.startswith("QLinear") or node.op_type in ("QGemm", "QuantizeLinear")
