"""The signed grid (TensorRT's) and the unsigned one (ONNX Runtime's on x86) of a shipped student on real, unheard speech.

Both run as they are written, operator by operator: ONNX Runtime's optimiser fuses the two differently, and what a target
makes of a graph is the target's. They differ in one thing: after a ReLU the unsigned range reaches to 255 before it
clips, the signed one to 127. The ranges have room above all that training heard, so hardly anything goes there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor

from edge_lupi.bundle.bundle import Bundle, shipped_bundle
from edge_lupi.compile.evidence import evidence_for_bundle
from edge_lupi.compile.graphs.export import encoder_graph
from edge_lupi.compile.graphs.quantised import signed_int8, unsigned_int8
from edge_lupi.models.files import load_student
from edge_lupi.runtime.compiled_student import CompiledStudent

Array = NDArray[np.float32]
STUDENTS = Path(__file__).resolve().parents[3] / "train" / "students"
CORPORA = {"speaker": ("librispeech_excerpts", "trials_held_out.txt"), "emotion": ("ravdess_av", None)}
SEGMENTS = 200
BATCH = 50
NEAR = {"speaker": (0.98, 0.95), "emotion": (0.995, 0.97)}  # mean and least cosine, after 73 int8 layers and after 19


@dataclass(frozen=True)
class Writings:
    """Embeddings [200, D] of the float student, of its grid's writings and of those of a grid half as wide.

    `beyond`: of the levels that are stored after a ReLU, the share above 127.
    """

    student: CompiledStudent
    embeddings: Mapping[str, Array]
    beyond: float


@pytest.fixture(scope="module", params=CORPORA)
def writings(request: pytest.FixtureRequest, data_root: Path) -> Writings:
    folder, listed = CORPORA[request.param]
    data = data_root / folder
    bundle = Bundle.load(shipped_bundle(request.param))
    evidence = evidence_for_bundle(bundle, data, data / listed if listed else None)
    segments = evidence.segments[:: len(evidence.segments) // SEGMENTS][:SEGMENTS]
    assert len(segments) == SEGMENTS
    trained = load_student(STUDENTS / f"{request.param}.pt")
    signed = signed_int8(encoder_graph(trained.student, trained.ranges))
    narrow = signed_int8(encoder_graph(trained.student, halved(trained.ranges)))
    graphs = {
        "float": encoder_graph(trained.student),
        "signed": signed,
        "unsigned": unsigned_int8(signed),
        "narrow signed": narrow,
        "narrow unsigned": unsigned_int8(narrow),
    }
    levels = as_written(showing_levels(graphs["unsigned"]), segments)[1:]
    beyond = sum(int((stored > 127).sum()) for stored in levels) / sum(stored.size for stored in levels)
    embeddings = {name: as_written(graph, segments)[0] for name, graph in graphs.items()}
    return Writings(CompiledStudent(bundle), embeddings, beyond)


def halved(ranges: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Activations clip at half the height; weights are as they were."""
    return {name: found if name.endswith(".weight") else found / 2 for name, found in ranges.items()}


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


def copied(model: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
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


def test_both_tell_the_same(writings: Writings) -> None:
    signed, unsigned = writings.embeddings["signed"], writings.embeddings["unsigned"]
    assert cosines(signed, unsigned).min() >= 0.9999
    assert (decisions(writings.student, signed) == decisions(writings.student, unsigned)).all()


def test_both_are_near_the_float_student(writings: Writings) -> None:
    for name in ("signed", "unsigned"):
        found = cosines(writings.embeddings["float"], writings.embeddings[name])
        mean, least = NEAR[writings.student.task.name]
        assert found.mean() >= mean, name
        assert found.min() >= least, name


def test_where_they_differ_nothing_is_stored_but_a_grid_half_as_wide_would_tell(writings: Writings) -> None:
    assert writings.beyond < 1e-6
    assert cosines(writings.embeddings["narrow signed"], writings.embeddings["narrow unsigned"]).min() < 0.9999
