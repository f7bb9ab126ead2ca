"""fp16 by casts in the graph. Float model -> model whose convolutions and matrix products are float16, inputs and outputs float32.

What follows from them in the same shape (ReLU, residual add) is float16 too. Everything else stays float32: log, pooling
(mean, deviation), the attention's tanh and exp, the state that is carried, normalisation.
"""

from __future__ import annotations

import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

__all__ = ["half_graph"]

PRODUCTS = ("Conv", "Gemm", "MatMul")
FOLLOWS = ("Relu", "Add")


def half_graph(model: ModelProto) -> ModelProto:
    """A copy in float16 where that is safe; names, inputs and outputs as they were."""
    half = _Half(model)
    for node in model.graph.node:
        half.add(node)
    return half.finish()


class _Half:
    """The copy as it grows. A tensor x that is computed in float16 is called x.half; x itself is a cast of it."""

    def __init__(self, model: ModelProto) -> None:
        self.model = ModelProto()
        self.model.CopyFrom(model)
        self._weights = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
        self._made: set[str] = {item.name for item in model.graph.input} | set(self._weights)
        self._nodes: list[NodeProto] = []
        self._halves: dict[str, TensorProto] = {}

    def add(self, node: NodeProto) -> None:
        """Take over one node, in float16 if it is a product or follows from one."""
        copy = NodeProto()
        copy.CopyFrom(node)
        is_half = node.op_type in PRODUCTS or (
            node.op_type in FOLLOWS and all(f"{name}.half" in self._made for name in node.input)
        )
        for place, name in enumerate(node.input):
            if name:
                copy.input[place] = self._as_half(name) if is_half else self._as_float(name)
        if is_half:
            copy.output[0] = f"{node.output[0]}.half"
        self._nodes.append(copy)
        self._made.update(copy.output)

    def finish(self) -> ModelProto:
        """Cast the outputs back, drop what nothing reads, check, and give the model."""
        graph = self.model.graph
        for item in graph.output:
            self._as_float(item.name)
        read = {name for node in self._nodes for name in node.input}
        kept = [item for item in graph.initializer if item.name in read] + list(self._halves.values())
        for field, items in ((graph.node, self._nodes), (graph.initializer, kept)):
            del field[:]
            field.extend(items)
        del graph.value_info[:]
        onnx.checker.check_model(self.model, full_check=True)
        return self.model

    def _as_half(self, name: str) -> str:
        if name in self._weights:
            self._halves[name] = numpy_helper.from_array(self._weights[name].astype("float16"), f"{name}.half")
            return f"{name}.half"
        return self._cast(name, f"{name}.half", TensorProto.FLOAT16)

    def _as_float(self, name: str) -> str:
        return self._cast(f"{name}.half", name, TensorProto.FLOAT)

    def _cast(self, source: str, wanted: str, kind: int) -> str:
        if wanted not in self._made:
            self._nodes.append(helper.make_node("Cast", [source], [wanted], name=f"cast {wanted}", to=kind))
            self._made.add(wanted)
        return wanted
