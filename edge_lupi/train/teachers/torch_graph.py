"""ONNX inference by torch, on the device that trains: the operators of convolutional encoders. Tensor in, tensor out.

ONNX Runtime for a GPU would be another wheel beside torch's own CUDA, and the converters that exist are not kept up. So the
nodes are run one by one as torch functions. Whole numbers lie on the CPU, as torch wants shapes; what follows from the
input's shape alone is computed once per shape.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from edge_lupi.errors import InputError, MissingExtra

__all__ = ["TorchGraph"]

Attributes = Mapping[str, Any]
KINDS = {1: torch.float32, 7: torch.int64, 9: torch.bool, 6: torch.int32, 10: torch.float16, 11: torch.float64}


class TorchGraph:
    """The first input and the first output of a graph count. Weights lie on the device; there is no gradient."""

    def __init__(self, data: bytes, device: torch.device, name: str) -> None:
        self.device = device
        graph = _parsed(data, name)
        weights = _weights(graph, name)
        self.nodes = _nodes(graph)
        unknown = sorted({node.kind for node in self.nodes} - set(_OPERATORS))
        if unknown:
            raise InputError(
                f'expected operators that torch can run in {name}, got {", ".join(unknown)}: set data.sound = "log-mel", where ONNX Runtime answers'
            )
        self.input = next(value.name for value in graph.input if value.name not in weights)
        self.output = graph.output[0].name
        self.weights = {key: _placed(value, device) for key, value in weights.items()}
        self.by_shape: dict[tuple[int, ...], dict[str, Tensor]] = {}

    @torch.no_grad()
    def __call__(self, heard: Tensor) -> Tensor:
        """float32 of the input's shape -> the output's."""
        heard = heard.to(self.device)
        shape = tuple(heard.shape)
        if shape not in self.by_shape:
            self.by_shape[shape] = self._of_shape(heard)
        fixed, values = self.by_shape[shape], {self.input: heard}
        for node in self.nodes:
            if node.output not in fixed:
                values[node.output] = self._run(node, values, fixed)
                for name in node.done:
                    values.pop(name, None)
        return values[self.output]

    def _of_shape(self, heard: Tensor) -> dict[str, Tensor]:
        """The weights, and all that follows from the input's shape."""
        fixed, values = dict(self.weights), {self.input: heard}
        for node in self.nodes:
            follows = node.kind == "Shape" or all(name in fixed for name in node.inputs if name)
            (fixed if follows else values)[node.output] = self._run(node, values, fixed)
            for name in node.done:
                values.pop(name, None)
        return fixed

    def _run(self, node: _Node, values: Mapping[str, Tensor], fixed: Mapping[str, Tensor]) -> Tensor:
        given = [(fixed[name] if name in fixed else values[name]) if name else None for name in node.inputs]
        return _placed(_OPERATORS[node.kind](node.attributes, *given), self.device)


@dataclass(frozen=True)
class _Node:
    """One operator; `done` are the values that nobody reads after it."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: Attributes
    done: tuple[str, ...]


def _parsed(data: bytes, name: str) -> Any:
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra("a teacher that is an ONNX file", "onnx", "train") from error
    try:
        return onnx.load_from_string(data).graph
    except Exception as error:  # protobuf raises kinds of its own
        raise InputError(f"expected an ONNX graph in {name}, got something else: check the file") from error


def _weights(graph: Any, name: str) -> dict[str, Tensor]:
    from onnx import numpy_helper

    if any(weight.data_location for weight in graph.initializer):
        raise InputError(f"expected a graph with its weights in one file in {name}, got external data: export it again")
    return {w.name: torch.from_numpy(numpy_helper.to_array(w).copy()) for w in graph.initializer}


def _nodes(graph: Any) -> list[_Node]:
    last = {name: number for number, node in enumerate(graph.node) for name in node.input}
    last.update({value.name: len(graph.node) for value in graph.output})
    found = []
    for number, node in enumerate(graph.node):
        done = tuple(name for name in node.input if last[name] == number)
        found.append(_Node(node.op_type, tuple(node.input), node.output[0], _attributes(node), done))
    return found


def _attributes(node: Any) -> dict[str, Any]:
    from onnx import helper, numpy_helper

    found = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    return {
        key: torch.from_numpy(numpy_helper.to_array(value).copy()) if hasattr(value, "data_type") else value
        for key, value in found.items()
    }


def _placed(value: Tensor, device: torch.device) -> Tensor:
    """Whole numbers are shapes and places: on the CPU. All others on the device."""
    return value.to("cpu" if value.dtype in (torch.int64, torch.int32, torch.bool) else device)


def _whole(value: Tensor | Sequence[int] | None) -> list[int]:
    return [int(v) for v in (value.flatten().tolist() if isinstance(value, Tensor) else value or ())]


def _axes(given: Attributes, axes: Tensor | None) -> list[int]:
    """An attribute in older versions of an operator, an input in newer ones."""
    return _whole(axes if axes is not None else given.get("axes"))


def _conv(given: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    rank = x.ndim - 2
    pads = given.get("pads") or [0] * 2 * rank
    x = F.pad(x, [pads[i + side * rank] for i in reversed(range(rank)) for side in (0, 1)]) if any(pads) else x
    strides, dilations = given.get("strides") or [1] * rank, given.get("dilations") or [1] * rank
    run: Callable[..., Tensor] = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    return run(x, weight, bias, tuple(strides), 0, tuple(dilations), given.get("group", 1))


def _average(given: Attributes, x: Tensor) -> Tensor:
    rank = x.ndim - 2
    pads = given.get("pads") or [0] * 2 * rank
    if pads[:rank] != pads[rank:]:
        raise InputError(f"expected a pooling with as much padding before as after, got {pads}")
    run: Callable[..., Tensor] = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[rank - 1]
    strides = given.get("strides") or [1] * rank
    ceil, counted = bool(given.get("ceil_mode", 0)), bool(given.get("count_include_pad", 0))
    return run(x, tuple(given["kernel_shape"]), tuple(strides), tuple(pads[:rank]), ceil, counted)


def _norm(given: Attributes, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, given.get("epsilon", 1e-5))


def _mean(given: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.mean(_axes(given, axes) or list(range(x.ndim)), bool(given.get("keepdims", 1)))


def _product(given: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    keep = bool(given.get("keepdims", 1))
    for axis in sorted((a % x.ndim for a in _axes(given, axes) or range(x.ndim)), reverse=True):
        x = x.prod(axis, keep)
    return x


def _reshape(given: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    wanted = _whole(shape)
    kept = [x.shape[i] if size == 0 and not given.get("allowzero", 0) else size for i, size in enumerate(wanted)]
    return x.reshape(kept)


def _expand(given: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    wanted = _whole(shape)  # a size of 1 on either side fits any on the other
    rank = max(x.ndim, len(wanted))
    sides = ([1] * (rank - len(sizes)) + sizes for sizes in (list(x.shape), wanted))
    return x.expand([there if here == 1 else here for here, there in zip(*sides, strict=True)])


def _slice(
    given: Attributes, x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
) -> Tensor:
    along = _whole(axes) if axes is not None else list(range(len(starts)))
    by = _whole(steps) if steps is not None else [1] * len(along)
    chosen = [slice(None)] * x.ndim
    for axis, start, end, step in zip(along, _whole(starts), _whole(ends), by, strict=True):
        chosen[axis % x.ndim] = slice(start, end, step)
    return x[tuple(chosen)]


def _squeeze(given: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    chosen = _axes(given, axes)
    return x.squeeze(tuple(chosen)) if chosen else x.squeeze()


def _unsqueeze(given: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    chosen = _axes(given, axes)
    for axis in sorted(a % (x.ndim + len(chosen)) for a in chosen):
        x = x.unsqueeze(axis)
    return x


def _gather(given: Attributes, x: Tensor, places: Tensor) -> Tensor:
    axis = given.get("axis", 0) % x.ndim
    index = places.to(x.device).flatten() % x.shape[axis]
    return x.index_select(axis, index).reshape((*x.shape[:axis], *places.shape, *x.shape[axis + 1 :]))


def _gemm(given: Attributes, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a, b = (m.T if given.get(f"trans{side}", 0) else m for m, side in ((a, "A"), (b, "B")))
    product = given.get("alpha", 1.0) * (a @ b)
    result: Tensor = product if c is None else product + given.get("beta", 1.0) * c
    return result


def _constant(given: Attributes) -> Tensor:
    value = next(iter(given.values()))
    return value if isinstance(value, Tensor) else torch.tensor(value)


def _filled(given: Attributes, shape: Tensor) -> Tensor:
    value = given.get("value", torch.zeros(1))
    result: Tensor = value.reshape(()).expand(_whole(shape)).clone()
    return result


def _of(run: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """An operator without attributes."""
    return lambda given, *values: run(*values)


_OPERATORS: dict[str, Callable[..., Tensor]] = {
    "Add": _of(operator.add),
    "AveragePool": _average,
    "BatchNormalization": _norm,
    "Cast": lambda given, x: x.to(KINDS[given["to"]]),
    "Concat": lambda given, *values: torch.cat(values, given["axis"]),
    "Constant": _constant,
    "ConstantOfShape": _filled,
    "Conv": _conv,
    "Div": _of(operator.truediv),
    "Equal": _of(torch.eq),
    "Exp": _of(torch.exp),
    "Expand": _expand,
    "Flatten": lambda given, x: x.reshape(x.shape[: given.get("axis", 1)].numel(), -1),
    "Gather": _gather,
    "Gemm": _gemm,
    "Identity": _of(lambda x: x),
    "Log": _of(torch.log),
    "MatMul": _of(torch.matmul),
    "Mul": _of(operator.mul),
    "Pow": _of(torch.pow),
    "ReduceMean": _mean,
    "ReduceProd": _product,
    "Relu": _of(torch.relu),
    "Reshape": _reshape,
    "Shape": lambda given, x: torch.tensor(x.shape),
    "Sigmoid": _of(torch.sigmoid),
    "Slice": _slice,
    "Softmax": lambda given, x: x.softmax(given.get("axis", -1)),
    "Sqrt": _of(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _of(operator.sub),
    "Tanh": _of(torch.tanh),
    "Transpose": lambda given, x: x.permute(tuple(given.get("perm") or reversed(range(x.ndim)))),
    "Unsqueeze": _unsqueeze,
    "Where": _of(torch.where),
}
