"""Graphs on a real GPU without TensorRT: computed by torch on the caller's stream, at the caller's addresses, asynchronously."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper

TF32 = bool(os.environ.get("PRETENDED_TENSORRT_TF32"))
GRAPHS = bool(os.environ.get("PRETENDED_TENSORRT_GRAPHS"))
torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = TF32
torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
WARM_UP = 3
KINDS = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64}
Tensors = dict[str, torch.Tensor]


class Graph:
    """`inputs`, `outputs`: dimensions by name, -1 for the batch. `run` computes on tensors of `device`."""

    def __init__(self, data: bytes, device: str = "cuda") -> None:
        model: Any = onnx.load_from_string(data)
        self.device, self._nodes = device, [node for node in model.graph.node if node.op_type != "Constant"]
        self.plain = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant":
                self.plain[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        self._constants = {name: torch.from_numpy(np.array(values)) for name, values in self.plain.items()}
        self._placed = False
        self.inputs = {v.name: _dimensions(v) for v in model.graph.input if v.name not in self.plain}
        self.outputs = {v.name: _dimensions(v) for v in model.graph.output}
        unknown = {node.op_type for node in self._nodes} - OPERATORS.keys()
        if unknown:
            raise ValueError(f"no torch for {', '.join(sorted(unknown))}")
        self._attributes = [
            {a.name: helper.get_attribute_value(a) for a in node.attribute} for node in self._nodes
        ]  # once: they are read at every launch
        self._captured: dict[Any, tuple[torch.cuda.CUDAGraph, Any]] = {}
        self._seen: dict[Any, int] = {}

    @torch.no_grad()
    def run(self, given: Tensors) -> Tensors:
        """Compute once, node by node."""
        if not self._placed:
            self._constants = {name: values.to(self.device) for name, values in self._constants.items()}
            self._placed = True
        known = {**self._constants, **given}
        for node, attributes in zip(self._nodes, self._attributes, strict=True):
            taken = [known[name] if name else None for name in node.input]
            fixed = [self.plain.get(name) for name in node.input]
            known.update(zip(node.output, OPERATORS[node.op_type](taken, attributes, fixed), strict=False))
        return {name: known[name] for name in self.outputs}

    def touched(self, call: str) -> None:
        """A real GPU counts nothing."""

    def enqueue(self, stream: int, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> bool:
        """Put the computation into the stream. False where torch cannot: an address that is none, a GPU that has failed."""
        try:
            self._put(stream, shapes, addresses)
        except (RuntimeError, ValueError) as error:
            print(f"pretended TensorRT: {str(error).splitlines()[0]}", file=sys.stderr)
            return False
        return True

    def _put(self, stream: int, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
        key = (stream, *sorted(shapes.items()), *sorted(addresses.items()))
        outer = torch.cuda.ExternalStream(stream)
        if key in self._captured:
            with torch.cuda.stream(outer):
                self._captured[key][0].replay()
            return
        places = {name: _tensor(addresses[name], shapes[name]) for name in (*self.inputs, *self.outputs)}
        with torch.cuda.stream(outer):
            self._fill(places)
        self._seen[key] = self._seen.get(key, 0) + 1
        if GRAPHS and self._seen[key] == WARM_UP:
            outer.synchronize()
            self._capture(key, outer, places)

    def _capture(self, key: Any, stream: Any, places: Tensors) -> None:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                kept = self._fill(places)
        except RuntimeError as error:  # it goes on node by node
            print(f"pretended TensorRT: no CUDA graph: {str(error).splitlines()[0]}", file=sys.stderr)
            return
        self._captured[key] = graph, (kept, places)

    def _fill(self, places: Tensors) -> Tensors:
        found = self.run({name: places[name] for name in self.inputs})
        for name, values in found.items():
            places[name].copy_(values)
        return found


class _Foreign:
    """Memory of the GPU that somebody else owns, as torch takes it."""

    def __init__(self, address: int, shape: tuple[int, ...]) -> None:
        self.__cuda_array_interface__ = {
            "shape": shape, "typestr": "<f4", "data": (address, False), "version": 3, "strides": None,
        }  # fmt: skip


def _tensor(address: int, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.as_tensor(_Foreign(address, shape), device="cuda")


def _dimensions(value: Any) -> tuple[int, ...]:
    return tuple(d.dim_value or -1 for d in value.type.tensor_type.shape.dim)


# Operators: tensors, attributes, and constants where an input is one -> tensors.
Taken, Attributes, Fixed = list[Any], dict[str, Any], list[Any]
Operator = Callable[[Taken, Attributes, Fixed], Iterable[torch.Tensor]]


def _plain(function: Callable[..., torch.Tensor]) -> Operator:
    return lambda x, a, c: (function(*x),)


def _axes(a: Attributes, c: Fixed) -> tuple[int, ...]:
    return tuple(int(axis) for axis in (a["axes"] if "axes" in a else c[1]))


def _conv(x: Taken, a: Attributes, c: Fixed) -> Iterable[torch.Tensor]:
    signal, pads = x[0], list(a.get("pads", [0, 0, 0, 0]))
    if pads[:2] != pads[2:]:
        signal, pads = F.pad(signal, (pads[1], pads[3], pads[0], pads[2])), [0, 0]
    bias = x[2] if len(x) > 2 else None
    steps = list(a.get("strides", [1, 1])), pads[:2], list(a.get("dilations", [1, 1]))
    return (F.conv2d(signal, x[1], bias, *steps, a.get("group", 1)),)


def _along(values: torch.Tensor, like: torch.Tensor, a: Attributes) -> torch.Tensor:
    """A scale per channel, so that it spreads over the tensor."""
    axis = a.get("axis", 1)
    return values if values.ndim == 0 else values.reshape([-1 if i == axis else 1 for i in range(like.ndim)])


def _quantise(x: Taken, a: Attributes, c: Fixed) -> Iterable[torch.Tensor]:
    return (torch.clamp(torch.round(x[0] / _along(x[1], x[0], a)), -128, 127),)


def _dequantise(x: Taken, a: Attributes, c: Fixed) -> Iterable[torch.Tensor]:
    return (x[0].float() * _along(x[1], x[0], a),)


def _unsqueeze(x: Taken, a: Attributes, c: Fixed) -> Iterable[torch.Tensor]:
    found = x[0]
    for axis in sorted(_axes(a, c)):
        found = found.unsqueeze(axis)
    return (found,)


def _mean(x: Taken, a: Attributes, c: Fixed) -> Iterable[torch.Tensor]:
    return (x[0].mean(_axes(a, c), keepdim=bool(a.get("keepdims", 1))),)


OPERATORS: dict[str, Operator] = {
    **{name: _plain(getattr(torch, name.lower())) for name in ("Add", "Sub", "Mul", "Div", "Relu", "Sqrt")},
    "Conv": _conv,
    "QuantizeLinear": _quantise,
    "DequantizeLinear": _dequantise,
    "Transpose": lambda x, a, c: (x[0].permute(*a["perm"]),),
    "Concat": lambda x, a, c: (torch.cat(x, a["axis"]),),
    "Flatten": lambda x, a, c: (x[0].flatten(a.get("axis", 1)),),
    "Unsqueeze": _unsqueeze,
    "ReduceMean": _mean,
    "Cast": lambda x, a, c: (x[0].to(KINDS[a["to"]]),),
}
