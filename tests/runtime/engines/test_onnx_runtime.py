"""ONNX Runtime on the CPU: arrays that stay bound between runs give what runs by themselves give, to whoever asks."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime as ort
import pytest

from edge_lupi.bundle.bundle import Bundle, shipped_bundle
from edge_lupi.bundle.graph_walk import refuse_external_data
from edge_lupi.errors import BundleError
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.engines.onnx_runtime import MOST_BOUND, OnnxEngine

ENCODER, AGGREGATOR = (
    (shipped_bundle("speaker") / f"{name}.onnx").read_bytes() for name in ("encoder", "aggregator.speaker")
)
STUDENT = CompiledStudent(Bundle.load(shipped_bundle("speaker")))
DIMENSIONS = STUDENT.encode(np.zeros((1, 80, 1, 100), np.float32)).shape[1]
STATE = STUDENT.initial_state().shape[-1]


def _segments(seed: int, count: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {"log_mel": random.standard_normal((count, 80, 1, 100), np.float32) * 2 - 4}


def _steps(seed: int, count: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "embedding": random.standard_normal((count, DIMENSIONS), np.float32),
        "state": random.random((count, STATE), np.float32),
    }


@pytest.mark.parametrize(("graph", "inputs"), [(ENCODER, _segments), (AGGREGATOR, _steps)])
def test_every_run_gives_what_a_run_by_itself_gives(graph: bytes, inputs: object) -> None:
    """Shapes in turn, more of them than stay bound; no answer is written over by a later one."""
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_outputs()]
    engine, counts = OnnxEngine(graph), [1, 2, 1, 1, 3, 2, *range(1, 12), 1, 2]
    asked = [inputs(seed, count) for seed, count in enumerate(counts)]  # type: ignore[operator]
    answers = [engine.run(one) for one in asked]
    for one, answer in zip(asked, answers, strict=True):
        assert list(answer) == names
        for value, wanted in zip(answer.values(), session.run(None, one), strict=True):
            np.testing.assert_array_equal(value, wanted)
    assert len(engine._bound) <= MOST_BOUND


def test_threads_share_an_engine_and_no_arrays() -> None:
    engine = OnnxEngine(AGGREGATOR)
    asked = [_steps(seed, 1 + seed % 2) for seed in range(200)]
    wanted = [engine.run(one) for one in asked]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(engine.run, asked * 5))
    for answer, one in zip(answers, wanted * 5, strict=True):
        for name, value in one.items():
            np.testing.assert_array_equal(answer[name], value)


def test_many_streams_leave_no_arrays_behind() -> None:
    engine = OnnxEngine(ENCODER)
    engine.run(_segments(0, 16))
    assert not engine._bound


def test_other_names_are_one_sentence_also_where_shapes_are_bound() -> None:
    engine = OnnxEngine(ENCODER)
    for _ in range(2):
        engine.run(_segments(0, 1))
        with pytest.raises(BundleError, match="does not take what it is given"):
            engine.run({"mel": _segments(0, 1)["log_mel"]})
    assert engine.run(_segments(1, 1))["embedding"].shape == (1, DIMENSIONS)


def test_results_of_a_foreign_graph_may_have_other_shapes_each_time() -> None:
    """As many numbers as are positive; its inputs' shape says nothing of that."""
    onnx = pytest.importorskip("onnx")
    value, helper = onnx.helper.make_tensor_value_info, onnx.helper
    nodes = [
        helper.make_node("Greater", ["x", "zero"], ["which"]),
        helper.make_node("Compress", ["x", "which"], ["y"], axis=0),
    ]
    zero = onnx.numpy_helper.from_array(np.zeros(1, np.float32), "zero")
    ends = [value("x", onnx.TensorProto.FLOAT, [4])], [value("y", onnx.TensorProto.FLOAT, ["n"])]
    graph = helper.make_graph(nodes, "foreign", *ends, [zero])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    engine = OnnxEngine(model.SerializeToString(), check=refuse_external_data, foreign=True)
    for numbers in ([1, 2, -3, 4], [-1, 2, -3, 4], [1, 2, 3, 4]):
        np.testing.assert_array_equal(
            engine.run({"x": np.array(numbers, np.float32)})["y"], [n for n in numbers if n > 0]
        )
