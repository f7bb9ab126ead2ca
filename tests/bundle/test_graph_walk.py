"""No graph reaches a runtime that reaches outside of itself, has foreign operators or costs too much."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_lupi.bundle.bundle import Bundle, shipped_bundle
from edge_lupi.bundle.graph_bounds import check_graph, cost
from edge_lupi.bundle.graph_walk import read_graph, refuse_external_data, refuse_outer_engine
from edge_lupi.errors import BundleError
from edge_lupi.runtime.engines.onnx_runtime import OnnxEngine

FLOAT = TensorProto.FLOAT
PLACES = ["secret.bin", "../secret.bin", "/etc/hostname", "*/_ORT_MEM_ADDR_/*"]


def elsewhere(place: str, name: str = "w") -> TensorProto:
    """A tensor whose four numbers lie at a place."""
    tensor = TensorProto(name=name, data_type=FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": place, "offset": "0", "length": "16"}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def graph(
    nodes: list[Any], constants: list[Any] | None = None, inputs: Any = None, opset: int = 17, **more: Any
) -> Any:
    """x [batch, 4] -> y."""
    given = [helper.make_tensor_value_info("x", FLOAT, inputs or ["batch", 4])]
    made = helper.make_graph(nodes, "g", given, [helper.make_tensor_value_info("y", FLOAT, None)], constants or [])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, **more)


def initialiser(place: str) -> Any:
    return graph([helper.make_node("Add", ["x", "w"], ["y"])], [elsewhere(place)])


def attribute(place: str) -> Any:
    constant = helper.make_node("Constant", [], ["w"], value=elsewhere(place))
    return graph([constant, helper.make_node("Add", ["x", "w"], ["y"])])


def subgraph(place: str) -> Any:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["z"])],
        "then",
        [],
        [helper.make_tensor_value_info("z", FLOAT, [4])],
        [elsewhere(place)],
    )
    yes = numpy_helper.from_array(np.array(True), "yes")
    return graph([helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner)], [yes])


def sparse(place: str) -> Any:
    model = graph([helper.make_node("Add", ["x", "w"], ["y"])])
    model.graph.sparse_initializer.add(values=elsewhere(place), dims=[4])
    return model


def function(place: str) -> Any:
    constant = helper.make_node("Constant", [], ["w"], value=elsewhere(place))
    nodes = [constant, helper.make_node("Add", ["a", "w"], ["b"])]
    made = helper.make_function("own", "F", ["a"], ["b"], nodes, [helper.make_opsetid("", 17)])
    model = graph([helper.make_node("F", ["x"], ["y"], domain="own")], functions=[made])
    model.opset_import.append(helper.make_opsetid("own", 1))
    return model


@pytest.mark.parametrize("make", [initialiser, attribute, subgraph, sparse, function])
@pytest.mark.parametrize("place", PLACES)
def test_numbers_that_lie_elsewhere_are_refused(make: Callable[[str], Any], place: str) -> None:
    written = make(place).SerializeToString()
    with pytest.raises(BundleError, match="keeps the numbers of a tensor outside of it") as caught:
        OnnxEngine(written, name="encoder.onnx")
    assert place in str(caught.value)
    with pytest.raises(BundleError, match="outside of it"):
        refuse_external_data(written, "g")


def nested(depth: int) -> Any:
    inner = helper.make_graph([], "bottom", [], [], [elsewhere("x")])
    for _ in range(depth):
        inner = helper.make_graph([helper.make_node("If", ["c"], [], then_branch=inner)], "g", [], [])
    return helper.make_model(inner)


def loop() -> Any:
    """Of 2**63 turns."""
    turn = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["still"])],
        "turn",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("still", TensorProto.BOOL, [])],
    )
    constants = [numpy_helper.from_array(np.array(2**63 - 1), "n"), numpy_helper.from_array(np.array(True), "yes")]
    return graph(
        [helper.make_node("Loop", ["n", "yes"], [], body=turn), helper.make_node("Relu", ["x"], ["y"])], constants
    )


def filled() -> Any:
    shape = numpy_helper.from_array(np.array([1 << 31]), "n")
    return graph([helper.make_node("ConstantOfShape", ["n"], ["y"])], [shape])


def doubled() -> Any:
    """Joined with itself 40 times."""
    names = ["x", *(f"t{i}" for i in range(39)), "y"]
    return graph([helper.make_node("Concat", [a, a], [b], axis=1) for a, b in pairwise(names)])


def outer_products() -> Any:
    """[4, 1] by [1, 4], made a row again, eight times over."""
    axis = numpy_helper.from_array(np.array([2]), "last")
    middle = numpy_helper.from_array(np.array([1]), "middle")
    nodes, name = [], "x"
    for i in range(8):
        nodes += [
            helper.make_node("Unsqueeze", [name, "last"], [f"a{i}"]),
            helper.make_node("Unsqueeze", [name, "middle"], [f"b{i}"]),
            helper.make_node("Mul", [f"a{i}", f"b{i}"], [f"c{i}"]),
            helper.make_node("Flatten", [f"c{i}"], [f"d{i}"]),
        ]
        name = f"d{i}"
    return graph([*nodes, helper.make_node("Relu", [name], ["y"])], [axis, middle])


def padded() -> Any:
    weight = numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "w")
    conv = helper.make_node("Conv", ["x", "w"], ["y"], pads=[40_000] * 4)
    return graph([conv], [weight], ["batch", 1, 1, 4])


def large_product() -> Any:
    a, b = (
        numpy_helper.from_array(np.ones(shape, np.float32), name)
        for name, shape in (("a", (9000, 1)), ("b", (1, 9000)))
    )
    return graph([helper.make_node("Gemm", ["a", "b"], ["y"])], [a, b])


def hollow() -> Any:
    return graph([helper.make_node("Add", ["x", "w"], ["y"])], [TensorProto(name="w", data_type=FLOAT, dims=[1 << 31])])


def foreign() -> Any:
    return graph([helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")])


def reshaped(*lengths: int) -> Any:
    shape = numpy_helper.from_array(np.array(lengths), "s")
    return graph([helper.make_node("Reshape", ["x", "s"], ["y"])], [shape])


HOSTILE: dict[str, Any] = {
    "an endless loop": loop,
    "two thousand million numbers from a shape": filled,
    "joined with itself": doubled,
    "outer products": outer_products,
    "a picture of pads": padded,
    "a large product": large_product,
    "a tensor that holds nothing": hollow,
    "a state of two thousand million numbers": lambda: graph([helper.make_node("Relu", ["x"], ["y"])], inputs=["b", 1 << 31]),
    "a free length": lambda: graph([helper.make_node("Relu", ["x"], ["y"])], inputs=["b", "n"]),
    "another domain's operator": foreign,
    "graphs 15 deep": lambda: nested(15),
    "a function": lambda: _without_external(function("x")),
    "another opset": lambda: graph([helper.make_node("Relu", ["x"], ["y"])], opset=18),
    "a result that nothing makes": lambda: graph([helper.make_node("Relu", ["x"], ["z"])]),
    "a Reshape to more than there is": lambda: reshaped(-1, 1 << 20, 1 << 20),
    "a Reshape that takes batches for lengths": lambda: reshaped(1, -1),
    "a Reshape to nothing": lambda: reshaped(),
    "a node of nothing": lambda: graph([helper.make_node("Add", [], ["y"])]),
}  # fmt: skip


def _without_external(model: Any) -> Any:
    model.functions[0].node[0].attribute[0].t.CopyFrom(numpy_helper.from_array(np.ones(4, np.float32)))
    return model


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_graph_that_must_not_run(kind: str) -> None:
    with pytest.raises(BundleError, match=r"^graph .*(is not a graph of edge-lupi|outside of it)") as caught:
        OnnxEngine(HOSTILE[kind]().SerializeToString())
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_onnx_runtimes_own_format_in_disguise() -> None:
    """Bytes 4 to 8 decide; a protobuf may have them, too, here in its producer's name."""
    model = graph([helper.make_node("Relu", ["x"], ["y"])])
    model.ClearField("ir_version")
    rest = model.SerializeToString()
    disguised = b"\x12\x10" + b"xxORTM" + b"x" * 10 + rest
    assert onnx.load_from_string(disguised).graph.node
    with pytest.raises(BundleError, match="ONNX Runtime's own format"):
        OnnxEngine(disguised)


def test_a_part_that_comes_twice_is_refused() -> None:
    """A parser would melt the two together, or take the last."""
    written = graph([helper.make_node("Relu", ["x"], ["y"])]).SerializeToString()
    with pytest.raises(BundleError, match="repeats a field"):
        check_graph(written * 2, "g")


def test_an_engine_in_another_file_is_refused() -> None:
    def context(mode: int) -> bytes:
        node = helper.make_node(
            "EPContext", ["x"], ["y"], domain="com.microsoft", embed_mode=mode, ep_cache_context="../x"
        )
        return graph([node]).SerializeToString()  # type: ignore[no-any-return]

    refuse_outer_engine(context(1), "engine")
    with pytest.raises(BundleError, match="keeps its engine outside of it"):
        refuse_outer_engine(context(0), "engine")


@pytest.fixture(scope="module")
def shipped() -> bytes:
    return Bundle.load(shipped_bundle("speaker")).file("aggregator.speaker.onnx")


def test_damage_anywhere_is_one_sentence_or_a_graph(shipped: bytes) -> None:
    draw = np.random.default_rng(0)
    refused = 0
    for _ in range(3000):
        damaged = bytearray(shipped[: int(draw.integers(len(shipped)))] if draw.random() < 0.3 else shipped)
        for place in draw.integers(max(1, len(damaged)), size=3):
            if damaged:
                damaged[int(place) if draw.random() < 0.3 else int(place) % min(len(damaged), 3000)] = draw.integers(
                    256
                )
        try:
            check_graph(bytes(damaged), "g")
        except BundleError:
            refused += 1
    assert refused > 1000


def test_what_is_counted_is_at_least_what_is_computed(shipped: bytes) -> None:
    """Against ONNX's own inference of shapes."""
    for task in ("speaker", "emotion"):
        for name, written in Bundle.load(shipped_bundle(task)).files.items():
            if name.endswith(".onnx"):
                inferred = onnx.shape_inference.infer_shapes(onnx.load_from_string(written))
                shapes = [[d.dim_value or 1 for d in v.type.tensor_type.shape.dim] for v in inferred.graph.value_info]
                exact = sum(4 * int(np.prod(shape)) for shape in shapes)
                bound = cost(read_graph(written, name)).bytes
                assert exact <= bound <= 8 * exact + 4 * len(written), name


@pytest.mark.parametrize("task", ["speaker", "emotion"])
def test_the_shipped_graphs_pass(task: str) -> None:
    files = Bundle.load(shipped_bundle(task)).files
    assert sum(check_graph(files[name], name).work > 0 for name in files if Path(name).suffix == ".onnx") == 3
