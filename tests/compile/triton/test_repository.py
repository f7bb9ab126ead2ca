"""A bundle as a Triton repository: a configuration that Triton's schema takes, and batched, stateful answers that are the stream's."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import soundfile
from google.protobuf import text_format

from edge_lupi.bundle.bundle import Bundle, shipped_bundle
from edge_lupi.bundle.engines import FOLDER, locked, write_choice
from edge_lupi.compile.request import Request as CompileRequest
from edge_lupi.compile.targets import compile_for
from edge_lupi.compile.triton.repository import write_repository
from edge_lupi.errors import InputError
from edge_lupi.frames import HOP_SAMPLES
from edge_lupi.metrics.confidence import probabilities_of
from edge_lupi.runtime.compiled_student import CompiledStudent, Step
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.runtime.sources.block import Block
from edge_lupi.sound.offset import without_offset
from tests.compile.triton.serving import Refused, Request, Server, read_config

Array = np.ndarray


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Of the two shipped bundles, by task."""
    folder = tmp_path_factory.mktemp("repositories")
    for task in ("speaker", "emotion"):
        write_repository(Bundle.load(shipped_bundle(task)), folder / task, max_batch=8)
    return {task: folder / task for task in ("speaker", "emotion")}


@pytest.fixture(scope="module")
def of_two_tasks(make_grid_student: Callable[[], Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """two.triton as `compile two.pt --target triton` makes it, beside two.lupi."""
    from edge_lupi.models.files import save_student

    folder = tmp_path_factory.mktemp("two_tasks")
    save_student(folder / "two.pt", make_grid_student())
    done = compile_for(folder / "two.pt", None, CompileRequest("triton", "fp32"))
    assert done.bundle.path == folder / "two.lupi"
    assert done.plain()["repository"] == str(folder / "two.triton")
    assert "two.triton: 7 models for tritonserver" in done.text()
    return folder / "two.triton"


@pytest.fixture(scope="module")
def streams(data_root: Path) -> Mapping[str, list[Array]]:
    """Twelve streams of a few real voices each: readers for `speaker`, actors for `emotion`."""
    readers = sorted((data_root / "librispeech_excerpts" / "audio").glob("*/*.flac"))[::2][:24]
    actors = sorted((data_root / "ravdess_av" / "audio").rglob("*.flac"))[::37][:36]
    return {"speaker": _joined(readers, 2, 4.3), "emotion": _joined(actors, 3, 5.0)}


def _joined(paths: Sequence[Path], each: int, seconds: float) -> list[Array]:
    sounds = [soundfile.read(path, dtype="float32", frames=round(seconds * 16_000))[0] for path in paths]
    groups = [np.concatenate(sounds[first : first + each]) for first in range(0, len(sounds), each)]
    return [sound[1_111 * number :] for number, sound in enumerate(groups)]  # of many lengths


def test_configurations_are_of_the_schema(repositories: Mapping[str, Path], of_two_tasks: Path) -> None:
    for repository in (*repositories.values(), of_two_tasks):
        server = Server(repository)  # which parses them and holds them against the graphs
        assert {config.max_batch_size for config in server.configs.values()} == {
            16 if repository == of_two_tasks else 8
        }
        for config in server.configs.values():
            assert config.platform == "ensemble" or config.WhichOneof("scheduling_choice")
    with pytest.raises(text_format.ParseError):  # the schema that is looked at is one that refuses
        read_config('name: "a" max_batches: 3')


def test_states_begin_with_zeros_and_are_carried(repositories: Mapping[str, Path]) -> None:
    batching = Server(repositories["speaker"]).configs["speaker_aggregator_speaker"].sequence_batching
    (state,) = batching.state
    assert (state.input_name, state.output_name, list(state.dims)) == ("state", "next_state", [385])
    (first,) = state.initial_state
    assert (first.zero_data, list(first.dims), first.name) == (True, [385], "nothing was heard yet")
    assert batching.WhichOneof("strategy_choice") == "oldest"


def test_graphs_are_the_bundles_own_and_old_enough(repositories: Mapping[str, Path]) -> None:
    for task, repository in repositories.items():
        bundle = Bundle.load(shipped_bundle(task))
        for name in ("front_end", "encoder", f"aggregator.{task}"):
            file = repository / f"{task}_{name.replace('.', '_')}" / "1" / "model.onnx"
            assert file.read_bytes() == bundle.file(f"{name}.onnx")
        for file in repository.rglob("*.onnx"):
            model = onnx.load(file)
            assert (model.ir_version, [entry.version for entry in model.opset_import]) == (8, [17])


@dataclass
class Hearing:
    """A student whose every call is remembered: what a client would ask of a server, and what `Listening` had for an answer."""

    task: str
    stream: int
    moment: int = 0
    asked: list[tuple[int, Array, int, bool, Step] | None] = field(
        default_factory=list
    )  # moment, log-mel, sequence, start, answer
    sequences: dict[bytes, int] = field(default_factory=dict)  # by the state that one has come to
    behind: dict[bytes, int] = field(default_factory=dict)  # by state: which call went on from it
    log_mels: dict[bytes, Array] = field(default_factory=dict)  # by embedding
    opened: int = 0

    @property
    def calls(self) -> list[tuple[int, Array, int, bool, Step]]:
        """Those that a client would make: of two steps from one state the listener has dropped the first."""
        return [call for call in self.asked if call]

    def listen(self, bundle: Bundle, samples: Array) -> None:
        listener = Listener(bundle, gallery=None)
        (ear,) = listener.ears
        self._encode, self._raised, self._branch = ear.encode, ear.student.raised, ear.branches[self.task]
        listener.ears = [replace(ear, encode=self.encode, branches={self.task: self})]
        listening, hop = listener.begin(), ear.segmentation.hop_samples
        for self.moment in range(-(-len(samples) // hop)):
            listening.push(Block(samples[self.moment * hop : (self.moment + 1) * hop]))
        self.moment += 1
        listening.finish()

    def encode(self, segments: Array, levels: Sequence[float]) -> Array:
        embeddings = self._encode(segments, levels)
        raised = self._raised(segments)  # the graph that does so is looked at by itself
        self.log_mels.update({row.tobytes(): one for row, one in zip(embeddings, raised, strict=True)})
        return embeddings

    def initial_state(self, batch: int = 1) -> Array:
        return self._branch.initial_state(batch)

    def step(self, embedding: Array, state: Array) -> Step:
        step = self._branch.step(embedding, state)
        for row in range(len(embedding)):
            self._keep(embedding[row], state[row], step, row)
        return step

    def _keep(self, embedding: Array, state: Array, step: Step, row: int) -> None:
        before, start = state.tobytes(), not state.any()
        if start:
            self.opened += 1
        elif before in self.behind:
            self.asked[self.behind[before]] = None
        sequence = self.stream * 10_000 + self.opened if start else self.sequences[before]
        self.behind[before] = len(self.asked)
        self.sequences[step.state[row].tobytes()] = sequence
        one = slice(row, row + 1)
        answer = Step(step.embedding[one], step.state[one], None if step.scores is None else step.scores[one])
        self.asked.append((self.moment, self.log_mels[embedding.tobytes()], sequence, start, answer))


@pytest.mark.parametrize("task", ["speaker", "emotion"])
def test_batches_of_many_streams_are_what_each_stream_is_alone(
    task: str, repositories: Mapping[str, Path], streams: Mapping[str, list[Array]]
) -> None:
    bundle, hearings = Bundle.load(shipped_bundle(task)), []
    for number, samples in enumerate(streams[task], 1):
        hearings.append(Hearing(task, number))
        hearings[-1].listen(bundle, samples)
    calls = [call for hearing in hearings for call in hearing.calls]
    last = {sequence: place for place, (_, _, sequence, _, _) in enumerate(calls)}
    assert sum(start for _, _, _, start, _ in calls) < len(calls) > 100
    server, draw, worst = Server(repositories[task]), np.random.default_rng(0), 0.0
    for moment in range(1 + max(call[0] for call in calls)):
        places = [place for place, call in enumerate(calls) if call[0] == moment]
        places = _mixed(places, [calls[place][2] // 10_000 for place in places], draw)
        rows = server.ask([Request(f"{task}_encoder", {"log_mel": calls[place][1][None]}) for place in places])
        asked = [
            Request(f"{task}_aggregator_{task}", row.outputs, sequence, start, end=last[sequence] == place)
            for place, row in zip(places, rows, strict=True)
            for _, _, sequence, start, _ in [calls[place]]
        ]
        for place, request in zip(places, server.ask(asked), strict=True):
            worst = max(worst, _difference(server, task, request, calls[place][4], bundle))
    assert worst < {"speaker": 0.03, "emotion": 1e-5}[task]  # a batch rounds elsewhere, which 73 int8 layers tell
    assert max(server.batches[f"{task}_encoder"]) == 8
    assert max(server.batches[f"{task}_aggregator_{task}"]) == 8
    assert not server.open[f"{task}_aggregator_{task}"]


def _mixed(places: Sequence[int], streams: Sequence[int], draw: np.random.Generator) -> list[int]:
    """In any order of streams, each stream's own kept: so do requests of many clients come."""
    queues = {stream: [p for p, s in zip(places, streams, strict=True) if s == stream] for stream in streams}
    order = draw.permutation(streams)
    return [queues[int(stream)].pop(0) for stream in order]


def _difference(server: Server, task: str, request: Request, step: Step, bundle: Bundle) -> float:
    worst = float(np.abs(request.outputs["utterance"] - step.embedding).max())
    if step.scores is not None:
        (header,) = server.ask([Request(f"{task}_header_{task}", {"scores": request.outputs["scores"]})])
        wanted = probabilities_of(step.scores, bundle.task(task).temperature)
        worst = max(worst, float(np.abs(header.outputs["probability"] - wanted).max()))
    return worst


def test_the_readmes_client_hears_what_the_runtime_hears(
    repositories: Mapping[str, Path], streams: Mapping[str, list[Array]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the ensemble, by the bundle's front end: samples in, what the stretch is so far out."""
    for task, repository in repositories.items():
        code, server = (
            re.search(r"```python\n(.*)```", (repository / "README.md").read_text(), re.S),
            Server(repository),
        )
        monkeypatch.setitem(sys.modules, "tritonclient", ModuleType("tritonclient"))
        monkeypatch.setitem(sys.modules, "tritonclient.grpc", _client_library())
        client: dict[str, Any] = {"__name__": "client"}
        assert code
        exec(code[1], client)
        samples = 0.03 * streams[task][0]  # quiet, so that it is raised
        blocks = [Block(samples[first : first + 1_234]) for first in range(0, len(samples), 1_234)]
        answers = list(client["answers"](_Client(server), blocks, sequence=7))
        bundle = Bundle.load(shipped_bundle(task))
        student, state = CompiledStudent(bundle, task), None
        segments = student.segments(without_offset(samples[: len(samples) // HOP_SAMPLES * HOP_SAMPLES]))
        assert len(answers) == len(segments)
        for answer, segment in zip(answers, segments, strict=True):
            step = student.step(student.encode(segment[None]), student.initial_state() if state is None else state)
            state, found = step.state, answer.as_numpy(f"utterance.{task}")
            assert (
                float(np.vdot(found, step.embedding) / np.linalg.norm(found) / np.linalg.norm(step.embedding)) > 0.995
            )
            if step.scores is not None:
                wanted = probabilities_of(step.scores, bundle.task(task).temperature)
                np.testing.assert_allclose(answer.as_numpy(f"probability.{task}"), wanted, atol=0.03)
        assert not server.open[f"{task}_aggregator_{task}"]


def _client_library() -> ModuleType:
    """Of tritonclient.grpc what the README uses."""
    module = ModuleType("tritonclient.grpc")
    module.InferInput = _Input  # type: ignore[attr-defined]
    return module


class _Input:
    def __init__(self, name: str, shape: list[int], datatype: str) -> None:
        self.name, self.shape, self.datatype = name, shape, datatype

    def set_data_from_numpy(self, tensor: Array) -> None:
        assert (list(tensor.shape), tensor.dtype, self.datatype) == (self.shape, np.float32, "FP32")
        self.tensor = tensor


class _Answer:
    def __init__(self, outputs: Mapping[str, Array]) -> None:
        self._outputs = outputs

    def as_numpy(self, name: str) -> Array:
        return self._outputs[name]


class _Client:
    def __init__(self, server: Server) -> None:
        self._server = server

    def infer(
        self, model: str, inputs: list[_Input], *, sequence_id: int, sequence_start: bool, sequence_end: bool
    ) -> _Answer:
        tensors = {one.name: one.tensor for one in inputs}
        (done,) = self._server.ask([Request(model, tensors, sequence_id, sequence_start, sequence_end)])
        return _Answer(done.outputs)


def test_quiet_speech_is_raised_in_the_graph_as_in_the_runtime(
    repositories: Mapping[str, Path], streams: Mapping[str, list[Array]]
) -> None:
    student, server = CompiledStudent(Bundle.load(shipped_bundle("speaker"))), Server(repositories["speaker"])
    changed = 0
    for gain in (1.0, 0.1, 0.01, 0.0):
        segments = student.segments(np.float32(gain) * streams["speaker"][0])
        for segment in segments:
            (done,) = server.ask([Request("speaker_level", {"log_mel": segment[None]})])
            wanted = student.raised(segment[None])
            np.testing.assert_allclose(done.outputs["raised"], wanted, atol=2e-3)
            changed += bool((wanted != segment).any())
    assert changed > len(segments)


def test_both_tasks_of_one_student_share_a_pass(of_two_tasks: Path, voice: Callable[..., Array]) -> None:
    server, samples = Server(of_two_tasks), np.zeros((1, 240 + 8_000), np.float32)
    samples[0, 240:] = voice(3, 0.5)
    (done,) = server.ask([Request("two", {"samples": samples}, sequence=1, start=True)])
    assert set(done.outputs) == {"embedding", "utterance.mood", "probability.mood", "utterance.speaker"}
    assert server.batches["two_encoder"] == [1]
    assert (of_two_tasks / "two" / "labels.mood.txt").read_text() == "plain\nbright\n"
    with pytest.raises(Refused):
        server.ask([Request("two", {"samples": samples}, sequence=2)])


@pytest.mark.real_builder
def test_the_chosen_engine_is_the_encoder(with_engines: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    shutil.copytree(with_engines[0], tmp_path / "two.lupi")
    built = Bundle.load(tmp_path / "two.lupi").engines[0]
    with locked(tmp_path / "two.lupi" / FOLDER):
        write_choice(tmp_path / "two.lupi" / FOLDER, built.key.device, built.key.precision)
    bundle = Bundle.load(tmp_path / "two.lupi")
    write_repository(bundle, tmp_path / "plan", max_batch=64)
    config = Server(tmp_path / "plan").configs["two_encoder"]
    assert (config.backend, config.platform, config.max_batch_size) == (
        "tensorrt",
        "tensorrt_plan",
        built.key.max_batch,
    )
    plan = (tmp_path / "plan/two_encoder/1/model.plan").read_bytes()
    assert plan == (bundle.path / FOLDER / built.key.file).read_bytes()
    assert built.key.device.tensorrt in (tmp_path / "plan/README.md").read_text()
    write_repository(bundle, tmp_path / "onnx", max_batch=64, engines=False)
    assert (tmp_path / "onnx/two_encoder/1/model.onnx").is_file()


def test_a_repository_is_not_written_into_its_bundle(tmp_path: Path, cli: Callable[..., Any]) -> None:
    """Where the next compile would take it away, and a signature would not cover it."""
    shutil.copytree(shipped_bundle("speaker"), tmp_path / "my.lupi")
    before = sorted((tmp_path / "my.lupi").rglob("*"))
    for place in (tmp_path / "my.lupi" / "models", tmp_path / "my.lupi" / "a" / ".." / "models"):
        done = cli("compile", tmp_path / "my.lupi", "--target", "triton", "--out", place)
        assert done.returncode == 1
        assert "expected a place outside of the bundle" in done.stderr
    assert sorted((tmp_path / "my.lupi").rglob("*")) == before


def test_only_what_is_as_it_was_written_is_replaced(tmp_path: Path, cli: Callable[..., Any]) -> None:
    bundle = Bundle.load(shipped_bundle("speaker"))
    place = tmp_path / "models"
    place.mkdir()
    write_repository(bundle, place, max_batch=8)
    write_repository(bundle, place, max_batch=4)  # our own, unchanged
    config = place / "speaker_encoder" / "config.pbtxt"
    config.write_text(config.read_text() + "instance_group { count: 2 }\n")
    done = cli("compile", bundle.path, "--target", "triton", "--out", place)
    assert done.returncode == 1
    assert "speaker_encoder/config.pbtxt in it is not as it was written" in done.stderr
    assert "Traceback" not in done.stderr
    assert "count: 2" in config.read_text()
    for name, content in (("notes.txt", "mine"), ("edge-lupi.json", json.dumps({"format": "another"}))):
        other = tmp_path / name.split(".")[0]
        other.mkdir()
        (other / name).write_text(content)
        with pytest.raises(InputError, match="not a Triton repository that edge-lupi wrote"):
            write_repository(bundle, other, max_batch=8)
    with pytest.raises(InputError, match=r"compiled already: give its STUDENT\.PT to choose a precision"):
        compile_for(bundle.path, tmp_path / "new", CompileRequest("triton", "fp32"))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="no folder"):
        write_repository(bundle, tmp_path / "file", max_batch=8)
