"""ONNX graph (protobuf) read without a runtime: bytes -> Graph: its nodes, and the shapes of what it is given and holds.

A runtime follows a tensor whose numbers lie elsewhere to any file, older ones even to an address in memory. So a graph is
walked before a runtime sees it: such a tensor is refused wherever it hides, and what is damaged or too deep, too.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar, Union

from edge_lupi.errors import BundleError
from edge_lupi.words import printable

__all__ = ["Attribute", "Constant", "Graph", "Node", "read_graph", "refuse_external_data", "refuse_outer_engine"]

MAX_BYTES = 1 << 27
MAX_FIELDS = 200_000  # our largest graph has 9,000
MAX_DEPTH = 32
MAX_RANK = 8
MAX_NUMBERS_READ = 64  # of an integer constant: axes, not weights
INT64, DOUBLE, UINT64 = 7, 11, 13
FLATBUFFER = b"ORTM"  # from byte 4: ONNX Runtime would take these bytes for its own format, whatever protobuf says

# message -> field -> message, of all fields through which a tensor can be reached (onnx.proto)
MESSAGES: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "tensor": {},
}

Found = TypeVar("Found")
Value = Union[int, bytes]
Fields = Mapping[int, list[Value]]


@dataclass(frozen=True)
class Constant:
    """A tensor that lies in the graph. `numbers` of a short one of int64, as axes are; else None. `wide`: 8 bytes a number."""

    shape: tuple[int, ...]
    numbers: tuple[int, ...] | None
    wide: bool


Attribute = Union[int, tuple[int, ...], Constant, None]  # None: of another type


@dataclass(frozen=True)
class Node:
    """One operator; `domain` is empty for ONNX's own."""

    op: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True)
class Graph:
    """`inputs` name -> shape, None where a length is free; `constants` are the initialisers; `opsets` domain -> version."""

    inputs: Mapping[str, tuple[int | None, ...]]
    outputs: tuple[str, ...]
    constants: Mapping[str, Constant]
    nodes: tuple[Node, ...]
    opsets: Mapping[str, int]


def refuse_external_data(graph: bytes, name: str) -> None:
    """Raise BundleError where a tensor's numbers lie outside the graph, or the bytes are no ONNX of bounded size and depth."""
    _walked(graph, name, lambda reader: reader.search("model", graph))


def refuse_outer_engine(context: bytes, name: str) -> None:
    """The same for a compiled model: an engine that a runtime finds in it lies in it, not in another file."""
    refuse_external_data(context, name)
    for node in _walked(context, name, lambda reader: reader.model(context)).nodes:
        if node.op == "EPContext" and node.attributes.get("embed_mode") != 1:
            raise BundleError(f"{name} keeps its engine outside of it: build the engines anew on this device")


def read_graph(graph: bytes, name: str) -> Graph:
    """What a graph holds. Raises BundleError as `refuse_external_data` does, and for parts that our graphs never have."""
    refuse_external_data(graph, name)
    return _walked(graph, name, lambda reader: reader.model(graph))


def _walked(graph: bytes, name: str, read: Callable[[_Reader], Found]) -> Found:
    try:
        if len(graph) > MAX_BYTES:
            raise ValueError(f"{len(graph)} bytes, more than {MAX_BYTES}")
        if graph[4:8] == FLATBUFFER:
            raise ValueError("ONNX Runtime's own format")
        return read(_Reader())
    except _Elsewhere as error:
        raise BundleError(
            f"{name} keeps the numbers of a tensor outside of it ({error}): a bundle's graphs hold all of theirs; do not use this bundle"
        ) from error
    except ValueError as error:
        raise BundleError(f"{name} is not a graph of edge-lupi ({error}): compile the student anew") from error


class _Elsewhere(Exception):
    """A tensor with external data."""


@dataclass
class _Reader:
    """Reads messages until too many fields have been seen. Raises ValueError where the bytes are no such message."""

    left: int = MAX_FIELDS

    def fields(self, data: bytes) -> Fields:
        """Field number -> its values: a whole number, or bytes. Groups, which ONNX never writes, are refused."""
        values: dict[int, list[Value]] = {}
        at = 0
        while at < len(data):
            self.left -= 1
            if self.left < 0:
                raise ValueError(f"more than {MAX_FIELDS} fields")
            key, at = _varint(data, at)
            value: Value
            if key & 7 == 0:
                value, at = _varint(data, at)
            else:
                size = {1: 8, 5: 4}.get(key & 7)
                if size is None:
                    if key & 7 != 2:
                        raise ValueError("damaged")
                    size, at = _varint(data, at)
                if size > len(data) - at:
                    raise ValueError("truncated")
                value, at = data[at : at + size], at + size
            values.setdefault(key >> 3, []).append(value)
        return values

    def search(self, message: str, data: Value, depth: int = 0) -> None:
        """Raise _Elsewhere for a tensor with external data, at any depth."""
        if depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} messages deep")
        fields = self.fields(_bytes(data))
        if message == "tensor" and (13 in fields or any(fields.get(14, ()))):
            raise _Elsewhere(self._place(fields))
        for number, inner in MESSAGES[message].items():
            for value in fields.get(number, ()):
                self.search(inner, value, depth + 1)

    def _place(self, fields: Fields) -> str:
        """`tensor 'weight' in '../x'`."""
        entries = [self.fields(_bytes(value)) for value in fields.get(13, ())]
        places = [_word(entry.get(2, [b""])[-1]) for entry in entries if entry.get(1) == [b"location"]]
        said = f"tensor {_word(fields.get(8, [b''])[-1])!r} in {places[0] if places else 'no place'!r}"
        return printable(said)[:200]

    def model(self, data: bytes) -> Graph:
        """The whole. What our graphs never have is refused: functions, training, sparse tensors, graphs within graphs."""
        fields = self.fields(data)
        if fields.keys() & {20, 25}:
            raise ValueError("it has functions or a training graph")
        opsets = [self.fields(_bytes(value)) for value in fields.get(8, ())]
        graph = self.fields(_bytes(_one(fields, 7)))
        if 15 in graph:
            raise ValueError("it has sparse tensors")
        return Graph(
            dict(self._input(value) for value in graph.get(11, ())),
            tuple(_word(_one(self.fields(_bytes(value)), 1)) for value in graph.get(12, ())),
            dict(self._constant(value) for value in graph.get(5, ())),
            tuple(self._node(value) for value in graph.get(1, ())),
            {_word(_one(opset, 1, b"")): _number(_one(opset, 2)) for opset in opsets},
        )

    def _input(self, data: Value) -> tuple[str, tuple[int | None, ...]]:
        fields = self.fields(_bytes(data))
        tensor = self.fields(_bytes(_one(self.fields(_bytes(_one(fields, 2))), 1)))
        dims = [self.fields(_bytes(dim)) for dim in self.fields(_bytes(_one(tensor, 2))).get(1, ())]
        return _word(_one(fields, 1)), tuple(_number(_one(dim, 1)) if 1 in dim else None for dim in dims)

    def _node(self, data: Value) -> Node:
        fields = self.fields(_bytes(data))
        return Node(
            _word(_one(fields, 4)),
            _word(_one(fields, 7, b"")),
            tuple(map(_word, fields.get(1, ()))),
            tuple(map(_word, fields.get(2, ()))),
            dict(self._attribute(value) for value in fields.get(5, ())),
        )

    def _attribute(self, data: Value) -> tuple[str, Attribute]:
        fields = self.fields(_bytes(data))
        name = _word(_one(fields, 1))
        if fields.keys() & {6, 10, 11, 22, 23}:
            raise ValueError("it has a graph within the graph, or a list of tensors")
        if 5 in fields:
            return name, self._constant(_one(fields, 5))[1]
        if 8 in fields:
            return name, _numbers(fields[8])
        return name, _number(_one(fields, 3)) if 3 in fields else None

    def _constant(self, data: Value) -> tuple[str, Constant]:
        fields = self.fields(_bytes(data))
        shape = _numbers(fields.get(1, ()))
        if len(shape) > MAX_RANK or min(shape, default=0) < 0:
            raise ValueError("a tensor's shape is none")
        count = 1
        for length in shape:
            count *= length
        held = sum(
            len(value) if isinstance(value, bytes) else 8 for n in (4, 5, 7, 9, 10, 11) for value in fields.get(n, ())
        )
        if count > held:  # every number takes a byte or more
            raise ValueError("a tensor holds fewer numbers than its shape says")
        name, kind = _word(_one(fields, 8, b"")), _one(fields, 2)
        wide = kind in (INT64, DOUBLE, UINT64)
        if kind != INT64 or count > MAX_NUMBERS_READ:
            return name, Constant(shape, None, wide)
        raw = _bytes(_one(fields, 9, b""))
        numbers = struct.unpack(f"<{len(raw) // 8}q", raw[: len(raw) // 8 * 8]) if raw else _numbers(fields.get(7, ()))
        return name, Constant(shape, numbers, wide)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        if at >= len(data):
            raise ValueError("truncated")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value & (1 << 64) - 1, at
    raise ValueError("damaged")


def _one(fields: Fields, number: int, default: Value | None = None) -> Value:
    """A field that may come once: of two a parser would take the last, or melt them together."""
    values = fields.get(number, [] if default is None else [default])
    if len(values) != 1:
        raise ValueError(f"{'lacks a field' if not values else 'repeats a field'} that comes once")
    return values[0]


def _bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("damaged")
    return value


def _word(value: Value) -> str:
    return _bytes(value).decode("utf-8")  # UnicodeDecodeError is a ValueError


def _number(value: Value) -> int:
    """int64, two's complement."""
    if isinstance(value, bytes):
        raise ValueError("damaged")
    return value - (1 << 64) if value >> 63 else value


def _numbers(values: list[Value] | tuple[()]) -> tuple[int, ...]:
    """A repeated int64, packed or not."""
    numbers: list[int] = []
    for value in values:
        if isinstance(value, int):
            numbers.append(_number(value))
            continue
        at = 0
        while at < len(value):
            number, at = _varint(value, at)
            numbers.append(_number(number))
            if len(numbers) > MAX_NUMBERS_READ:
                raise ValueError(f"more than {MAX_NUMBERS_READ} numbers where a few belong")
    return tuple(numbers)
