"""What keeps a Q/DQ graph from running in int8 throughout, layer by layer. Model -> sentences; none for a well-formed graph.

Well formed: every convolution and matrix product is 2-D, has int8 weights with a scale per output channel, and reads and
gives int8; so do ReLUs and residual adds. Anything less costs more than fp32 on most targets.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper

__all__ = ["int8_faults"]

PRODUCTS = ("Conv", "Gemm", "MatMul")
Q, DQ = "QuantizeLinear", "DequantizeLinear"


def int8_faults(model: ModelProto) -> list[str]:
    """One sentence per fault, each beginning with the layer's name."""
    graph = _Graph(model)
    faults: list[str] = []
    for node in model.graph.node:
        if node.op_type in PRODUCTS:
            faults += graph.weight_faults(node) + graph.input_faults(node, node.input[:1]) + graph.output_faults(node)
        elif node.op_type == "Add" and not any(map(graph.is_constant, node.input)):
            faults += graph.input_faults(node, node.input) + graph.output_faults(node)
        elif node.op_type == "Relu":
            faults += graph.output_faults(node)
        elif node.op_type in (Q, DQ):
            faults += graph.zero_faults(node)
    return faults


class _Graph:
    def __init__(self, model: ModelProto) -> None:
        nodes = model.graph.node
        self._maker = {name: node for node in nodes for name in node.output}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in nodes:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        self._constants: dict[str, NDArray[np.generic]] = {
            item.name: numpy_helper.to_array(item) for item in model.graph.initializer
        }
        for node in nodes:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self._constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)

    def is_constant(self, name: str) -> bool:
        return name in self._constants

    def weight_faults(self, node: NodeProto) -> list[str]:
        rounding = self._maker.get(node.input[1])
        rounding = rounding if rounding is not None and rounding.op_type == DQ else None
        weight = self._constants.get(rounding.input[0] if rounding is not None else node.input[1])
        faults = []
        if node.op_type == "Conv" and (weight is None or weight.ndim != 4):
            faults.append(f"{node.name}: the convolution is not 2-D")
        if rounding is None or weight is None or weight.dtype != np.int8:
            return [*faults, f"{node.name}: its weight is not int8"]
        scale = self._constants[rounding.input[1]]
        if scale.shape != weight.shape[:1]:
            faults.append(f"{node.name}: expected one weight scale per output channel, got shape {scale.shape}")
        return faults

    def input_faults(self, node: NodeProto, names: list[str]) -> list[str]:
        return [f"{node.name}: reads {name} without a Q/DQ pair" for name in names if not self._is_pair(name)]

    def output_faults(self, node: NodeProto) -> list[str]:
        readers = self._readers.get(node.output[0], [])
        if readers and all(reader.op_type in (Q, "Relu") for reader in readers):
            return []
        return [f"{node.name}: its result is not rounded by a Q/DQ pair"]

    def zero_faults(self, node: NodeProto) -> list[str]:
        zero = self._constants.get(node.input[2]) if len(node.input) > 2 else None
        if zero is not None and zero.dtype == np.int8 and not zero.any():
            return []
        return [f"{node.name}: expected signed int8 with zero point 0"]

    def _is_pair(self, name: str) -> bool:
        after = self._maker.get(name)
        before = self._maker.get(after.input[0]) if after is not None and after.op_type == DQ else None
        return before is not None and before.op_type == Q
