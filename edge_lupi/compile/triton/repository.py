"""Triton model repository: a bundle in; a folder out that tritonserver serves, with a README for whoever runs it.

    REPOSITORY/
      README.md  edge-lupi.json
      NAME/                      ensemble: samples -> all answers of the student
      NAME_front_end/ NAME_level/ NAME_encoder/
      NAME_aggregator_TASK/      state carried by Triton
      NAME_header_TASK/          probabilities, where the task has labels

Each model has `config.pbtxt` and the version folder `1/`. A bundle's graphs go in as they are, to the byte.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.bundle.engines import ENCODER, FOLDER, Built, read_engine
from edge_lupi.compile.triton.config import LABELS, Message, config_text, ensemble, sequential, stateless
from edge_lupi.compile.triton.graphs import header_graph, level_graph
from edge_lupi.compile.triton.place import LIST, list_bytes, refuse_to_replace
from edge_lupi.compile.triton.readme import readme
from edge_lupi.disk import write_folder, writing
from edge_lupi.errors import InputError
from edge_lupi.frames import CONTEXT_SAMPLES, MELS
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.level import Level
from edge_lupi.sound.audio import from_pcm
from edge_lupi.task import Task
from edge_lupi.words import printable

__all__ = ["Repository", "write_repository"]


@dataclass(frozen=True)
class Repository:
    """As it was written: its models, the one that joins them first, and the engine that is the encoder, if it is one."""

    path: Path
    models: tuple[str, ...]
    engine: Built | None

    def text(self) -> str:
        """For people."""
        encoder = f"the encoder is an engine for {self.engine.key.device}" if self.engine else "the encoder is ONNX"
        return f"{self.path}: {len(self.models)} models for tritonserver --model-repository={self.path}; {encoder}"


@dataclass(frozen=True)
class _Model:
    config: Message
    files: Mapping[str, bytes]  # beside config.pbtxt, or in the version folder


def write_repository(bundle: Bundle, path: Path, max_batch: int, engines: bool = True) -> Repository:
    """Write the repository `path` at once or not at all, in place of one that is as edge-lupi wrote it.

    With `engines` the encoder is the TensorRT engine that the bundle's gate chose, where there is one. Raises InputError,
    BundleError or DeviceError, and then nothing was changed.
    """
    if path.resolve().is_relative_to(bundle.path.resolve()):
        raise InputError(f"expected a place outside of the bundle, got {path}: choose another", options=("out",))
    refuse_to_replace(path)
    student = CompiledStudent(bundle, list(bundle.tasks))  # checked against its golden vectors
    engine = _engine(bundle) if engines else None
    max_batch = min(max_batch, engine.key.max_batch) if engine else max_batch
    models = _Student(bundle, student, engine, max_batch).models()
    files = {
        f"{model.config['name']}/{name}": data
        for model in models
        for name, data in {**model.files, "config.pbtxt": config_text(model.config)}.items()
    }
    files["README.md"] = readme(bundle, _name(bundle), max_batch, engine).encode()
    with writing(path, "nothing was changed; free some space or choose another place", options=("out",)):
        write_folder(path, {**files, LIST: list_bytes(bundle.fingerprint, files)})
    return Repository(path, tuple(model.config["name"] for model in models), engine)


def _name(bundle: Bundle) -> str:
    """The student's name among models: the bundle's, in letters that any client may put into an address."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", bundle.path.resolve().stem)


def _engine(bundle: Bundle) -> Built | None:
    """TensorRT's own engine of the encoder, as chosen; those of others are no plans that Triton reads."""
    graphs = bundle.tensorrt_graphs.get(ENCODER, {})
    for built in bundle.engines:
        file = graphs.get(built.key.precision)
        same = file and hashlib.sha256(bundle.file(file)).hexdigest() == built.key.graph_sha256
        if built.chosen and built.key.name == ENCODER and same and built.key.device.target == "tensorrt":
            return built
    return None


class _Student:
    """The models of one student, each with its configuration."""

    def __init__(self, bundle: Bundle, student: CompiledStudent, engine: Built | None, max_batch: int) -> None:
        self._bundle, self._student, self._engine, self._max_batch = bundle, student, engine, max_batch
        self._name = _name(bundle)
        golden, cut = bundle.golden(), bundle.segmentation
        self._samples = [CONTEXT_SAMPLES + cut.samples]
        self._log_mel = [MELS, 1, cut.frames]
        self._width = [golden["embeddings"].shape[1]]
        self._least_db = Level(from_pcm(golden["samples"])).least_db

    def models(self) -> list[_Model]:
        """The one that joins them first."""
        tasks = self._bundle.tasks.values()
        headers = [self._header(task) for task in tasks if task.classifies]
        return [
            self._whole(),
            self._front_end(),
            self._level(),
            self._encoder(),
            *(self._aggregator(task) for task in tasks),
            *headers,
        ]

    def _front_end(self) -> _Model:
        config = stateless(
            f"{self._name}_front_end", "onnx", {"samples": self._samples}, {"log_mel": self._log_mel}, self._max_batch
        )
        return _Model(config, {"1/model.onnx": self._bundle.file("front_end.onnx")})

    def _level(self) -> _Model:
        config = stateless(
            f"{self._name}_level", "onnx", {"log_mel": self._log_mel}, {"raised": self._log_mel}, self._max_batch
        )
        return _Model(config, {"1/model.onnx": level_graph(self._log_mel[-1], self._least_db)})

    def _encoder(self) -> _Model:
        kind = "plan" if self._engine else "onnx"
        file = (
            read_engine(self._bundle.path / FOLDER, self._engine) if self._engine else self._bundle.file("encoder.onnx")
        )
        config = stateless(
            f"{self._name}_encoder", kind, {"log_mel": self._log_mel}, {"embedding": self._width}, self._max_batch
        )
        return _Model(config, {f"1/model.{kind}": file})

    def _aggregator(self, task: Task) -> _Model:
        scores = {"scores": [len(task.labels)]} if task.classifies else {}
        config = sequential(
            f"{self._name}_aggregator_{task.name}",
            {"embedding": self._width},
            {"utterance": self._width, **scores},
            self._max_batch,
            state=("state", "next_state"),
            state_size=self._student.branches[task.name].state_size,
        )
        return _Model(config, {"1/model.onnx": self._bundle.file(f"aggregator.{task.name}.onnx")})

    def _header(self, task: Task) -> _Model:
        lengths = [len(task.labels)]
        config = stateless(
            f"{self._name}_header_{task.name}",
            "onnx",
            {"scores": lengths},
            {"probability": lengths},
            self._max_batch,
            labelled="probability",
        )
        graph = header_graph(len(task.labels), task.temperature)
        return _Model(config, {"1/model.onnx": graph, LABELS: _labels(task)})

    def _whole(self) -> _Model:
        steps: list[tuple[str, Mapping[str, str], Mapping[str, str]]] = [
            (f"{self._name}_front_end", {"samples": "samples"}, {"log_mel": "log_mel"}),
            (f"{self._name}_level", {"log_mel": "log_mel"}, {"raised": "raised"}),
            (f"{self._name}_encoder", {"log_mel": "raised"}, {"embedding": "embedding"}),
        ]
        outputs, labelled, files = {"embedding": self._width}, dict[str, str](), dict[str, bytes]()
        for task in self._bundle.tasks.values():
            utterance, scores, probability = (f"{what}.{task.name}" for what in ("utterance", "scores", "probability"))
            made = {"utterance": utterance, **({"scores": scores} if task.classifies else {})}
            steps.append((f"{self._name}_aggregator_{task.name}", {"embedding": "embedding"}, made))
            outputs[utterance] = self._width
            if task.classifies:
                steps.append((f"{self._name}_header_{task.name}", {"scores": scores}, {"probability": probability}))
                outputs[probability] = [len(task.labels)]
                labelled[probability] = f"labels.{task.name}.txt"
                files[f"labels.{task.name}.txt"] = _labels(task)
        config = ensemble(self._name, steps, {"samples": self._samples}, outputs, self._max_batch, labelled)
        return _Model(config, {"1/.keep": b"", **files})


def _labels(task: Task) -> bytes:
    """A line each, by their index in the scores."""
    return ("\n".join(map(printable, task.labels)) + "\n").encode()
