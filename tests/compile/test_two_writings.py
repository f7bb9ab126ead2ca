"""The signed grid (TensorRT's) and the unsigned one (ONNX Runtime's on x86) of a shipped student on real, unheard speech.

Both run as they are written, operator by operator: ONNX Runtime's optimiser fuses the two differently, and what a target
makes of a graph is the target's. They differ in one thing, which the design declares: after a ReLU the unsigned range
reaches to 255 before it clips, the signed one to 127. With that ceiling written into the unsigned graph the two are the
same; without it the unsigned one is nearer to the float student, as it clips less.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edge_lupi.bundle import Bundle, shipped_bundle
from edge_lupi.compile.evidence import read_evidence
from edge_lupi.compile.graphs import encoder_graph
from edge_lupi.compile.grid import signed_grid, unsigned_grid
from edge_lupi.models.files import load_student
from edge_lupi.runtime.student import CompiledStudent

Array = NDArray[np.float32]
STUDENTS = Path(__file__).resolve().parents[2] / "train" / "students"
CORPORA = {"speaker": ("librispeech_excerpts", "trials_held_out.txt"), "emotion": ("ravdess_av", None)}
SEGMENTS = 200
BATCH = 50


@dataclass(frozen=True)
class Writings:
    """Embeddings [200, D] of the float student and of its grid's writings; the largest level of every segment [200]."""

    student: CompiledStudent
    embeddings: Mapping[str, Array]
    largest: NDArray[np.int64]
    beyond: int
    stored: int


@pytest.fixture(scope="module", params=CORPORA)
def writings(request: pytest.FixtureRequest, data_root: Path) -> Writings:
    folder, listed = CORPORA[request.param]
    data = data_root / folder
    bundle = Bundle.load(shipped_bundle(request.param))
    evidence = read_evidence(bundle, data, data / listed if listed else None)
    segments = evidence.segments[:: len(evidence.segments) // SEGMENTS][:SEGMENTS]
    assert len(segments) == SEGMENTS
    trained = load_student(STUDENTS / f"{request.param}.pt")
    signed = signed_grid(encoder_graph(trained.student, trained.ranges))
    unsigned = unsigned_grid(signed)
    graphs = {
        "float": encoder_graph(trained.student),
        "signed": signed,
        "unsigned": unsigned,
        "with a ceiling": with_ceilings(unsigned),
    }
    levels = [levels.reshape(SEGMENTS, -1) for levels in as_written(showing_levels(unsigned), segments)[1:]]
    return Writings(
        evidence.student,
        {name: as_written(graph, segments)[0] for name, graph in graphs.items()},
        np.max([stored.max(1) for stored in levels], axis=0),
        sum(int((stored > 127).sum()) for stored in levels),
        sum(stored.size for stored in levels),
    )


def as_written(model: ModelProto, segments: Array) -> list[NDArray[np.generic]]:
    """Every output, without ONNX Runtime's optimiser."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    batches = [
        session.run(None, {"log_mel": segments[start : start + BATCH]}) for start in range(0, len(segments), BATCH)
    ]
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


def after_relu(model: ModelProto) -> Iterator[tuple[NodeProto, np.float32]]:
    """Quantisers with zero point 0, and their scales."""
    known = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            known[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and known[node.input[2]] == 0:
            yield node, known[node.input[1]]


def showing_levels(model: ModelProto) -> ModelProto:
    """The same graph, which also gives what is stored after every ReLU."""
    shown = copied(model)
    names = [node.output[0] for node, _ in after_relu(shown)]
    shown.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.UINT8, None) for name in names)
    return shown


def with_ceilings(model: ModelProto) -> ModelProto:
    """The same graph, which after a ReLU clips where the signed one does."""
    low = copied(model)
    nodes = list(low.graph.node)
    for node, scale in list(after_relu(low)):
        ceiling, below = f"{node.name} ceiling", f"{node.name} below"
        low.graph.initializer.append(numpy_helper.from_array(np.float32(127 * scale), ceiling))
        place = next(index for index, other in enumerate(nodes) if other.name == node.name)
        nodes.insert(place, helper.make_node("Min", [node.input[0], ceiling], [below], name=below))
        node.input[0] = below
    nodes = [copied_node(node) for node in nodes]
    del low.graph.node[:]
    low.graph.node.extend(nodes)
    return low


def copied(model: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy


def copied_node(node: NodeProto) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy


def cosines(a: Array, b: Array) -> Array:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def decisions(student: CompiledStudent, embeddings: Array) -> NDArray[np.int64]:
    """Of every segment its class; where voices are compared, of every pair of segments whether it is one voice."""
    steps = [student.step(embedding[None], student.initial_state()) for embedding in embeddings]
    if steps[0].scores is not None:
        return np.array([int(step.scores.argmax()) for step in steps if step.scores is not None])
    heard = np.concatenate([step.embedding for step in steps])
    heard /= np.linalg.norm(heard, axis=1, keepdims=True)
    pairs = np.triu_indices(len(heard), 1)
    return (heard @ heard.T >= student.task.threshold)[pairs].astype(np.int64)


def test_the_same_but_for_the_ceiling(writings: Writings) -> None:
    signed, unsigned = writings.embeddings["signed"], writings.embeddings["with a ceiling"]
    assert cosines(signed, unsigned).min() >= 0.9999
    assert (decisions(writings.student, signed) == decisions(writings.student, unsigned)).all()


def test_without_it_wherever_it_is_not_reached(writings: Writings) -> None:
    untouched = writings.largest <= 127
    assert 20 < untouched.sum() < SEGMENTS, "otherwise this shows nothing"
    signed, unsigned = writings.embeddings["signed"], writings.embeddings["unsigned"]
    assert cosines(signed, unsigned)[untouched].min() >= 0.9999


def test_it_is_seldom_reached_and_going_beyond_is_nearer_to_the_float_student(writings: Writings) -> None:
    assert 0 < writings.beyond / writings.stored < 1e-3
    signed, unsigned = (cosines(writings.embeddings["float"], writings.embeddings[n]) for n in ("signed", "unsigned"))
    assert unsigned.mean() > signed.mean()
    assert unsigned.min() > signed.min()
    differing = decisions(writings.student, writings.embeddings["signed"]) != decisions(
        writings.student, writings.embeddings["unsigned"]
    )
    assert differing.mean() < 0.01
