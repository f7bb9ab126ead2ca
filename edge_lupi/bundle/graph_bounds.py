"""Upper bounds of memory and work of a graph, before a runtime sees it. Graph -> Cost, from the operators that edge-lupi writes and no others.

Every operator has a rule: shapes of its inputs -> shape of its result, each length an upper bound. None of them loops, and
none makes more than its rule says, so a graph that passes can take neither hours nor gigabytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from edge_lupi.bundle.graph_walk import Constant, Graph, Node, read_graph
from edge_lupi.errors import BundleError

__all__ = ["OPSET", "Cost", "check_graph", "cost"]

OPSET = 17  # TensorRT 10.3 (JetPack 6) and ONNX Runtime 1.20 both read it
MAX_NODES = 2_000
MAX_BYTES = 1 << 28  # of all its tensors, as if none were freed; our largest size on segments of 3 s
MAX_WORK = 1 << 35  # some seconds of one thread
WORK_OF_A_NUMBER = 32  # what an exponential takes, in products
FLOATS = (1, 10)  # float32, float16: what a Cast may make

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Cost:
    """For a batch of one: `bytes` of all tensors together, and `work`, in products of two numbers."""

    bytes: int
    work: int

    @property
    def affordable_runs(self) -> int:
        """How often a graph that was never run may be run before anybody waits too long."""
        return max(1, MAX_WORK // max(1, self.work))


@lru_cache(maxsize=8)  # a graph is asked about before it is loaded, and again how often it may be run
def check_graph(graph: bytes, name: str) -> Cost:
    """What a graph costs. Raises BundleError where it reaches outside of itself, has foreign operators or costs too much."""
    read = read_graph(graph, name)
    try:
        spent = cost(read)
        if spent.bytes > MAX_BYTES or spent.work > MAX_WORK:
            raise ValueError(
                f"its tensors may take {_about(spent.bytes)} bytes by {_about(spent.work)} products, more than {_about(MAX_BYTES)} or {_about(MAX_WORK)}"
            )
        return spent
    except (ValueError, KeyError, IndexError, TypeError) as error:
        reason = str(error) if isinstance(error, ValueError) else "its nodes do not fit together"
        raise BundleError(f"{name} is not a graph of edge-lupi ({reason[:200]}): compile the student anew") from error


def _about(number: int) -> str:
    """Also of a number that no float can hold."""
    return f"{number:.2g}" if number < 1 << 1000 else "countless"


def cost(graph: Graph) -> Cost:
    """Upper bounds. Raises ValueError for what edge-lupi does not write; KeyError, IndexError, TypeError for nonsense."""
    if graph.opsets.get("") != OPSET or len(graph.nodes) > MAX_NODES:
        raise ValueError(f"expected opset {OPSET} and at most {MAX_NODES} nodes")
    tally = _Known(graph)
    for node in graph.nodes:
        tally.add(node)
    if not set(graph.outputs) <= tally.shapes.keys():
        raise ValueError("nothing makes one of its outputs")
    return Cost(tally.bytes, tally.work)


class _Known:
    """Shapes of the tensors so far, the values of small constants, and what computing them has cost."""

    def __init__(self, graph: Graph) -> None:
        self.shapes: dict[str, Shape] = {}
        self.values: dict[str, tuple[int, ...] | None] = {}
        self.sources: dict[str, str] = {}  # what Shape was asked of
        self.wide: set[str] = set()
        self.bytes = self.work = 0
        for name, lengths in graph.inputs.items():
            if not lengths or None in lengths[1:]:
                raise ValueError("expected inputs whose batch alone is free")
            self.keep(name, tuple(1 if length is None else length for length in lengths))
        for name, constant in graph.constants.items():
            self.keep(name, constant.shape, wide=constant.wide)
            self.values[name] = constant.numbers

    def keep(self, name: str, shape: Shape, *, wide: bool = False) -> None:
        if name in self.shapes or min(shape, default=0) < 0:
            raise ValueError("two tensors of one name, or a shape that is none")
        self.shapes[name] = shape
        self.bytes += math.prod(shape) * (8 if wide else 4)
        self.work += math.prod(shape) * WORK_OF_A_NUMBER
        if wide:
            self.wide.add(name)

    def add(self, node: Node) -> None:
        rule = RULES.get(node.op) if not node.domain else None
        if rule is None:
            raise ValueError(f"its operator {node.op[:40]!r} is none that edge-lupi writes")
        if len(node.outputs) != 1:
            raise ValueError(f"{node.op} with {len(node.outputs)} results")
        shape = rule(self, node)
        made_wide = node.op == "Shape" or (node.op == "Constant" and node.attributes["value"].wide)  # type: ignore[union-attr]
        self.keep(node.outputs[0], shape, wide=made_wide or (node.op != "Cast" and self._first(node) in self.wide))
        if node.op in ("Conv", "Gemm"):
            weight = self.shapes[node.inputs[1]]
            inner = math.prod(weight[1:]) if node.op == "Conv" else max(weight)
            self.work += math.prod(shape) * inner

    @staticmethod
    def _first(node: Node) -> str:
        return node.inputs[0] if node.inputs else ""

    def of(self, node: Node, place: int = 0) -> Shape:
        return self.shapes[node.inputs[place]]


def _same(known: _Known, node: Node) -> Shape:
    return known.of(node)


def _broadcast(a: Shape, b: Shape) -> Shape:
    rank = max(len(a), len(b))
    a, b = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    return tuple(map(max, a, b))


def _pair(known: _Known, node: Node) -> Shape:
    return _broadcast(known.of(node), known.of(node, 1))


def _constant(known: _Known, node: Node) -> Shape:
    value = node.attributes["value"]
    if not isinstance(value, Constant) or len(node.attributes) > 1:
        raise ValueError("a Constant that is no tensor")
    known.values[node.outputs[0]] = value.numbers
    return value.shape


def _shape(known: _Known, node: Node) -> Shape:
    known.sources[node.outputs[0]] = node.inputs[0]
    return (len(known.of(node)),)


def _expand(known: _Known, node: Node) -> Shape:
    """Only to the shape of another tensor."""
    return _broadcast(known.of(node), known.shapes[known.sources[node.inputs[1]]])


def _concat(known: _Known, node: Node) -> Shape:
    shapes = [known.shapes[name] for name in node.inputs]
    axis = range(len(shapes[0]))[_int(node, "axis")]
    longest = [max(lengths) for lengths in zip(*shapes, strict=True)]
    longest[axis] = sum(shape[axis] for shape in shapes)
    return tuple(longest)


def _flatten(known: _Known, node: Node) -> Shape:
    shape, axis = known.of(node), _int(node, "axis", 1)
    return math.prod(shape[:axis]), math.prod(shape[axis:])


def _reshape(known: _Known, node: Node) -> Shape:
    """Only to fixed lengths behind the batch, of as many numbers."""
    shape, (batch, *lengths) = known.of(node), known.values[node.inputs[1]] or (0,)
    if batch != -1 or min(lengths, default=0) < 1 or math.prod(lengths) != math.prod(shape[1:]):
        raise ValueError("a Reshape to other lengths than edge-lupi writes")
    return (shape[0], *lengths)


def _unsqueeze(known: _Known, node: Node) -> Shape:
    shape, axes = list(known.of(node)), known.values[node.inputs[1]] or ()
    rank = len(shape) + len(axes)
    for axis in sorted(range(rank)[axis] for axis in axes):
        shape.insert(axis, 1)
    return tuple(shape)


def _transpose(known: _Known, node: Node) -> Shape:
    shape = known.of(node)
    order = _ints(node, "perm", tuple(reversed(range(len(shape)))))
    if sorted(order) != list(range(len(shape))):
        raise ValueError("a Transpose of other axes")
    return tuple(shape[axis] for axis in order)


def _reduce(known: _Known, node: Node) -> Shape:
    shape, keeps = known.of(node), _int(node, "keepdims", 1)
    axes = {range(len(shape))[axis] for axis in _ints(node, "axes", tuple(range(len(shape))))}
    return tuple(1 if axis in axes else length for axis, length in enumerate(shape) if keeps or axis not in axes)


def _conv(known: _Known, node: Node) -> Shape:
    """As many places as its kernel finds room for; runtimes hold the attribute against the weights' own shape."""
    batch, _, *lengths = known.of(node)
    strides = _ints(node, "strides", (1,) * len(lengths))
    pads = _ints(node, "pads", (0,) * 2 * len(lengths))
    if node.attributes.get("auto_pad", 0) != 0 or min(strides, default=1) < 1 or min(pads, default=0) < 0:
        raise ValueError("a Conv with pads or strides that edge-lupi does not write")
    around = [low + high for low, high in zip(pads[: len(lengths)], pads[len(lengths) :], strict=True)]
    kernel = _ints(node, "kernel_shape", (1,) * len(lengths))
    apart = _ints(node, "dilations", (1,) * len(lengths))
    reach = [space * (size - 1) + 1 for size, space in zip(kernel, apart, strict=True)]
    if min(reach, default=1) < 1:
        raise ValueError("a Conv with a kernel that edge-lupi does not write")
    sizes = zip(lengths, around, reach, strides, strict=True)
    places = [max(0, n + pad - wide) // step + 1 for n, pad, wide, step in sizes]
    return (batch, known.of(node, 1)[0], *places)


def _gemm(known: _Known, node: Node) -> Shape:
    rows, columns = _int(node, "transA", 0), 1 - _int(node, "transB", 0)
    (a, b), shapes = (rows, columns), (known.of(node), known.of(node, 1))
    return shapes[0][a], shapes[1][b]


def _int(node: Node, name: str, default: int | None = None) -> int:
    value = node.attributes.get(name, default)
    if not isinstance(value, int):
        raise ValueError(f"{node.op} without {name}")
    return value


def _ints(node: Node, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
    value = node.attributes.get(name, default)
    if not isinstance(value, tuple):
        raise ValueError(f"{node.op} without {name}")
    return value


def _cast(known: _Known, node: Node) -> Shape:
    if _int(node, "to") not in FLOATS:
        raise ValueError("a Cast to another type than edge-lupi writes")
    return known.of(node)


SAME = ("Clip", "DequantizeLinear", "Exp", "Identity", "Log", "QuantizeLinear", "Relu", "Slice", "Sqrt", "Tanh")
RULES: Mapping[str, Callable[[_Known, Node], Shape]] = {
    **dict.fromkeys(SAME, _same),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _pair),
    **dict.fromkeys(("ReduceMean", "ReduceL2"), _reduce),
    "Cast": _cast,
    "Concat": _concat,
    "Constant": _constant,
    "Conv": _conv,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "Reshape": _reshape,
    "Shape": _shape,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
