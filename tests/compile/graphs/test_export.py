"""Every graph gives what its torch module gives."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch.nn import functional as F

from edge_lupi.bundle.graph_bounds import check_graph
from edge_lupi.compile.graphs.export import aggregator_graph, encoder_graph, front_end_graph
from edge_lupi.compile.graphs.half import half_graph
from edge_lupi.compile.graphs.quantised import signed_int8, unsigned_int8
from edge_lupi.frames import CONTEXT_SAMPLES, Segmentation
from edge_lupi.models.dense_encoder import DENSE_SIZES
from edge_lupi.models.encoder import SIZES
from edge_lupi.models.files import TrainedStudent
from edge_lupi.models.front_end import log_mel
from edge_lupi.models.student import Student, StudentConfig
from edge_lupi.runtime.engines.onnx_runtime import OnnxEngine
from edge_lupi.task import Task

STEPS = 100_000


@pytest.fixture(scope="module")
def trained(make_grid_student: Callable[[], TrainedStudent]) -> TrainedStudent:
    made = make_grid_student()
    made.student.requires_grad_(False)
    return made


def engine(graph: onnx.ModelProto) -> OnnxEngine:
    return OnnxEngine(graph.SerializeToString())


def shapes(values: Any) -> dict[str, list[int | str]]:
    """{name: shape} with a word for every free length."""
    return {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim] for value in values
    }


def test_names_shapes_and_opset(trained: TrainedStudent) -> None:
    wanted = {
        "front_end": (front_end_graph(50), {"samples": ["batch", 8240]}, {"log_mel": ["batch", 80, 1, 50]}),
        "encoder": (encoder_graph(trained.student), {"log_mel": ["batch", 80, 1, 50]}, {"embedding": ["batch", 128]}),
        "mood": (
            aggregator_graph(trained.student, "mood"),
            {"embedding": ["batch", 128], "state": ["batch", 257]},
            {"utterance": ["batch", 128], "scores": ["batch", 2], "next_state": ["batch", 257]},
        ),
        "speaker": (
            aggregator_graph(trained.student, "speaker"),
            {"embedding": ["batch", 128], "state": ["batch", 257]},
            {"utterance": ["batch", 128], "next_state": ["batch", 257]},
        ),
    }
    for name, (graph, inputs, outputs) in wanted.items():
        assert shapes(graph.graph.input) == inputs, name
        assert shapes(graph.graph.output) == outputs, name
        assert [item.version for item in graph.opset_import if item.domain in ("", "ai.onnx")] == [17], name


@pytest.mark.parametrize("batch", [1, 3])
def test_front_end_equals_the_fft(voice: Callable[..., Any], batch: int) -> None:
    samples = torch.from_numpy(np.stack([voice(seed, 0.5) for seed in range(batch)]))
    found = engine(front_end_graph(50)).run({"samples": F.pad(samples, (CONTEXT_SAMPLES, 0)).numpy()})["log_mel"]
    np.testing.assert_allclose(found, log_mel(samples).numpy(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("size", [*SIZES, *DENSE_SIZES])
@pytest.mark.parametrize("seconds", [0.5, 0.75])
def test_every_size_is_written_in_operators_that_the_device_takes(size: str, seconds: float) -> None:
    """Also where an odd number of frames has to be filled up to squares."""
    tasks = (Task("mood", "classification", ("plain", "bright")),)
    student = (
        Student(StudentConfig(size, "non-sequential", Segmentation(seconds, 0.25), tasks)).eval().requires_grad_(False)
    )
    segments = torch.randn(1, 80, 1, round(seconds * 100)) * 2 - 5
    found = engine(encoder_graph(student)).run({"log_mel": segments.numpy()})["embedding"]
    np.testing.assert_allclose(found, student.encoder(segments).numpy(), rtol=1e-2, atol=1e-3)
    for graph in (aggregator_graph(student, "mood"), half_graph(encoder_graph(student))):
        check_graph(graph.SerializeToString(), "graph")


@pytest.mark.parametrize("batch", [1, 4])
def test_encoder_equals_torch(trained: TrainedStudent, batch: int) -> None:
    segments = torch.randn(batch, 80, 1, 50) * 2 - 5
    found = engine(encoder_graph(trained.student)).run({"log_mel": segments.numpy()})["embedding"]
    np.testing.assert_allclose(found, trained.student.encoder(segments).numpy(), rtol=1e-3, atol=1e-4)


def test_exporting_leaves_the_student_alone(trained: TrainedStudent) -> None:
    before = {name: value.clone() for name, value in trained.student.state_dict().items()}
    encoder_graph(trained.student, trained.ranges)
    after = trained.student.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in after.items())


@pytest.mark.parametrize("task", ["mood", "speaker"])
@pytest.mark.parametrize("batch", [1, 3])
def test_aggregator_step_equals_torch(trained: TrainedStudent, task: str, batch: int) -> None:
    branch, graph = trained.student.branch(task), engine(aggregator_graph(trained.student, task))
    state = torch.zeros(batch, branch.aggregator.state_size)
    kept = state.numpy()
    for _ in range(5):
        embedding = torch.randn(batch, 128)
        utterance, scores, state = branch.step(embedding, state)
        found = graph.run({"embedding": embedding.numpy(), "state": kept})
        kept = found["next_state"]
        np.testing.assert_allclose(found["utterance"], utterance.numpy(), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(kept, state.numpy(), rtol=1e-4, atol=1e-4)
        if task == "mood":
            np.testing.assert_allclose(found["scores"], scores.numpy(), rtol=1e-4, atol=1e-4)


def test_a_day_of_steps_equals_the_whole(trained: TrainedStudent) -> None:
    """100,000 hops of half a second are 14 hours."""
    embeddings = np.random.default_rng(0).standard_normal((STEPS, 1, 128), np.float32)
    graph, branch = engine(aggregator_graph(trained.student, "mood")), trained.student.branch("mood")
    state = np.zeros((1, 257), np.float32)
    for embedding in embeddings:
        found = graph.run({"embedding": embedding, "state": state})
        state = found["next_state"]
    assert np.isfinite(state).all()
    assert np.abs(state[:, 1:]).max() < 10  # means, not sums
    whole = branch.aggregator(torch.from_numpy(embeddings).transpose(0, 1))
    np.testing.assert_allclose(found["utterance"], whole.numpy(), rtol=0, atol=0.02)


def test_what_other_programs_look_for(trained: TrainedStudent) -> None:
    """As sherpa-onnx and its like read it: the session's metadata, by their names; kept in every precision."""
    as_float = encoder_graph(trained.student)
    for graph in (as_float, half_graph(as_float), unsigned_int8(signed_int8(encoder_graph(trained.student, trained.ranges)))):  # fmt: skip
        session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        found = session.get_modelmeta().custom_metadata_map
        assert (found["framework"], found["sample_rate"], found["output_dim"]) == ("edge-lupi", "16000", "128")
        assert (found["feat_dim"], found["window_size_ms"], found["window_stride_ms"]) == ("80", "25", "10")
        assert found.keys() >= {"language", "url", "comment", "normalize_samples", "feature_normalize_type"}


def test_a_graph_carries_what_a_voice_was(trained: TrainedStudent) -> None:
    """Its state ends in the voice [1 + D], which goes in as it comes out."""
    torch.manual_seed(1)
    task = Task("mood", "classification", ("plain", "bright"), voice=5.0)
    config = StudentConfig("nano", "sequential", Segmentation(0.5, 0.25), (task,))
    student = Student(config).eval().requires_grad_(False)
    graph = aggregator_graph(student, "mood")
    assert check_graph(graph.SerializeToString(), "aggregator").work < 1 << 24
    runs, branch = engine(graph), student.branch()
    state = torch.randn(1, branch.state_size).abs()
    for embedding in torch.randn(5, 1, 128):
        wanted = branch.step(embedding, state)
        found = runs.run({"embedding": embedding.numpy(), "state": state.numpy()})
        for name, value in zip(("utterance", "scores", "next_state"), wanted, strict=True):
            np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-4)
        state = wanted[2]
