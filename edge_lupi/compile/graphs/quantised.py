"""Quantised graphs (Q/DQ), rewritten for a target. Q/DQ model -> Q/DQ model with the same numbers.

Learnt once: weights int8 per output channel, activations int8 per tensor, symmetric. TensorRT takes it as it is. ONNX
Runtime on x86 fuses and computes unsigned activations far better, so for the CPU the same scales are written with zero
point 0 where a tensor cannot be negative (after a ReLU; the ReLU then vanishes into the rounding) and 128 elsewhere.
The one difference: after a ReLU the range reaches twice as high before it clips. `train.qat` leaves room above all that it
hears, so that hardly anything does.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper

__all__ = ["float_layers", "signed_int8", "unsigned_int8", "without_inner_pairs"]

POSITIVE = {"Relu", "Sqrt", "Exp", "Abs"}
KEEPS_SIGN = {
    "ReduceMean",
    "MaxPool",
    "AveragePool",
    "Flatten",
    "Unsqueeze",
    "Reshape",
    "Transpose",
    "QuantizeLinear",
    "DequantizeLinear",
}
WEIGHTED = ("Conv", "Gemm", "MatMul")


def signed_int8(model: ModelProto) -> ModelProto:
    """Bring an exported fake-quantised graph to its stored form: weights as int8 initialisers before their DQ."""
    graph = _Graph(model)
    for node in list(graph.model.graph.node):
        if node.op_type == "QuantizeLinear" and graph.is_constant(node.input[0]):
            graph.store_rounded_weight(node)
    return graph.finish()


def unsigned_int8(model: ModelProto) -> ModelProto:
    """The same ranges for ONNX Runtime on x86: unsigned activations, zero point 0 after a ReLU, 128 elsewhere."""
    graph = _Graph(model)
    for node in list(graph.model.graph.node):
        if node.op_type != "QuantizeLinear":
            continue
        zero = np.uint8(0 if graph.is_positive(node.input[0]) else 128)
        for pair in (node, *graph.readers(node.output[0])):
            pair.input[2] = graph.constant(f"zero_point_{zero}", np.array(zero))
    return graph.finish()


def without_inner_pairs(model: ModelProto) -> ModelProto:
    """For TensorRT: no rounding between a residual block's last convolution and the sum that it goes into.

    There it keeps the two from being one kernel; the way around, which is read from memory, stays int8.
    """
    graph = _Graph(model)
    for node in model.graph.node:
        if node.op_type == "Add":
            graph.join(node.name)
    return graph.finish()


def float_layers(model: ModelProto) -> list[str]:
    """Names of convolutions and matrix products whose weights are not int8."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    layers = (node for node in model.graph.node if node.op_type in WEIGHTED)
    return [node.name for node in layers if getattr(made_by.get(node.input[1]), "op_type", None) != "DequantizeLinear"]


class _Graph:
    """A copy of a model with the look-ups that rewriting needs."""

    def __init__(self, model: ModelProto) -> None:
        self.model = ModelProto()
        self.model.CopyFrom(model)
        self._drop_identities()
        nodes = self.model.graph.node
        self._maker = {name: node for node in nodes for name in node.output}
        self._constants = {item.name: numpy_helper.to_array(item) for item in self.model.graph.initializer}
        for node in nodes:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self._constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)

    def _drop_identities(self) -> None:
        nodes = self.model.graph.node
        kept_outputs = {item.name for item in self.model.graph.output}
        source = {n.output[0]: n.input[0] for n in nodes if n.op_type == "Identity" and n.output[0] not in kept_outputs}
        for name in source:
            while source[name] in source:
                source[name] = source[source[name]]
        kept = [node for node in nodes if node.output[0] not in source]
        for node in kept:
            for index, name in enumerate(node.input):
                node.input[index] = source.get(name, name)
        del nodes[:]
        nodes.extend(kept)

    def is_constant(self, name: str) -> bool:
        """Whether a tensor's value is known."""
        return name in self._constants

    def readers(self, name: str) -> list[NodeProto]:
        """Nodes that take this tensor."""
        return [node for node in self.model.graph.node if name in node.input]

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """The name of an initialiser with this value, added if new."""
        if name not in self._constants:
            self._constants[name] = value
            self.model.graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def is_positive(self, name: str) -> bool:
        """Whether a tensor can never be below zero, from the operators that make it."""
        node = self._maker.get(name)
        if node is None:
            return False
        if node.op_type in POSITIVE:
            return True
        inputs = node.input if node.op_type == "Concat" else node.input[:1]
        return node.op_type in (KEEPS_SIGN | {"Concat"}) and all(self.is_positive(item) for item in inputs)

    def store_rounded_weight(self, node: NodeProto) -> None:
        """Replace the rounding of a constant by the rounded constant."""
        weight, scale = self._constants[node.input[0]], self._constants[node.input[1]]
        axis = next((item.i for item in node.attribute if item.name == "axis"), 1)
        shape = [-1 if index == axis else 1 for index in range(weight.ndim)] if scale.ndim else []
        rounded = np.clip(np.rint(weight / scale.reshape(shape)), -128, 127).astype(np.int8)
        stored = self.constant(f"{node.input[0]}.int8", rounded)
        for reader in self.readers(node.output[0]):
            reader.input[0] = stored
        self.model.graph.node.remove(node)

    def join(self, name: str) -> None:
        """Let the sum of this name read a convolution's own result where it reads that rounded; one such input of two."""
        total = next(node for node in self.model.graph.node if node.name == name)
        for place, rounded in enumerate(total.input):
            source = self._before_pair(rounded)
            if source is not None and source.op_type == "Conv" and len(self.readers(rounded)) == 1:
                total.input[place] = source.output[0]
                return

    def _before_pair(self, name: str) -> NodeProto | None:
        """What made a tensor that a Q/DQ pair has rounded; None where none has."""
        after = self._maker.get(name)
        before = self._maker.get(after.input[0]) if after is not None and after.op_type == "DequantizeLinear" else None
        if before is None or before.op_type != "QuantizeLinear":
            return None
        return self._maker.get(before.input[0])

    def finish(self) -> ModelProto:
        """Drop what nothing reads, check, and give the model."""
        graph = self.model.graph
        while True:
            read = {name for node in graph.node for name in node.input} | {item.name for item in graph.output}
            idle = [node for node in graph.node if not read.intersection(node.output)]
            if not idle:
                break
            for node in idle:
                graph.node.remove(node)
        unread = [item for item in graph.initializer if item.name not in read]
        for item in unread:
            graph.initializer.remove(item)
        del graph.value_info[:]
        onnx.checker.check_model(self.model, full_check=True)
        return self.model
