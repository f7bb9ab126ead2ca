"""Triton without a server: a model repository read and batched as its documents and sources say, on ONNX Runtime in this process.

Configurations are parsed against Triton's own schema and held against the graphs as its ONNX Runtime backend does. Requests
that are handed over together lie in the queues at the same moment: the dynamic batcher takes as many rows as fit; the
sequence batcher, strategy `oldest`, takes the oldest request of each open sequence, and carries the states by correlation id.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from numpy.typing import NDArray

Array = NDArray[np.float32]
SCHEMA = Path(__file__).with_name("model_config.textproto")


def _model_config() -> Any:
    file = text_format.Parse(SCHEMA.read_text(), descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))


ModelConfig = _model_config()


def read_config(text: str) -> Any:
    """inference.ModelConfig; raises google.protobuf.text_format.ParseError for what the schema has not."""
    return text_format.Parse(text, ModelConfig())


@dataclass(eq=False)
class Request:
    model: str
    inputs: Mapping[str, Array]  # [1, ...]
    sequence: int = 0
    start: bool = False
    end: bool = False
    outputs: dict[str, Array] = field(default_factory=dict)


class Refused(Exception):
    """What tritonserver would answer with an error."""


class Server:
    """`batches`: how many rows each model ran at once. `open`: sequences whose state is held, by model."""

    def __init__(self, repository: Path) -> None:
        folders = [folder for folder in sorted(repository.iterdir()) if folder.is_dir()]
        self.configs = {folder.name: read_config((folder / "config.pbtxt").read_text()) for folder in folders}
        self.batches: dict[str, list[int]] = defaultdict(list)
        self.open: dict[str, dict[int, dict[str, Array]]] = defaultdict(dict)
        self._sessions = {folder.name: self._session(folder) for folder in folders}

    def ask(self, requests: Sequence[Request]) -> Sequence[Request]:
        """All of them, of any models, wait at once; each gets its outputs."""
        for model in dict.fromkeys(request.model for request in requests):
            own = [request for request in requests if request.model == model]
            config = self.configs[model]
            if config.platform == "ensemble":
                self._ensemble(config, own)
            elif config.HasField("sequence_batching"):
                self._sequences(config, own)
            else:
                assert config.HasField("dynamic_batching")
                for first in range(0, len(own), config.max_batch_size):
                    self._run(config, own[first : first + config.max_batch_size], {})
        return requests

    def _session(self, folder: Path) -> onnxruntime.InferenceSession | None:
        """As the backend: names, types and lengths of a graph must be those of the configuration, states beside its inputs."""
        config = self.configs[folder.name]
        assert config.name == folder.name
        assert (folder / "1").is_dir()
        for tensor in config.output:
            if tensor.label_filename:
                labels = (folder / tensor.label_filename).read_text().splitlines()
                assert [len(labels)] == list(tensor.dims)
        if config.platform != "onnxruntime_onnx":
            return None
        assert config.backend == "onnxruntime"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(folder / "1" / "model.onnx", options, providers=["CPUExecutionProvider"])
        states = config.sequence_batching.state
        taken = {tensor.name: tensor.dims for tensor in config.input} | {s.input_name: s.dims for s in states}
        given = {tensor.name: tensor.dims for tensor in config.output} | {s.output_name: s.dims for s in states}
        for tensors, lengths in ((session.get_inputs(), taken), (session.get_outputs(), given)):
            assert {tensor.name for tensor in tensors} == set(lengths)
            for tensor in tensors:
                assert (tensor.shape[0], tensor.shape[1:]) == ("batch", list(lengths[tensor.name]))
                assert tensor.type == "tensor(float)"
        return session

    def _ensemble(self, config: Any, requests: Sequence[Request]) -> None:
        known = [dict(request.inputs) for request in requests]
        for step in config.ensemble_scheduling.step:
            inner = [
                Request(
                    step.model_name,
                    {own: tensors[here] for own, here in step.input_map.items()},
                    request.sequence,
                    request.start,
                    request.end,
                )
                for request, tensors in zip(requests, known, strict=True)
            ]
            for tensors, done in zip(known, self.ask(inner), strict=True):
                tensors.update({here: done.outputs[own] for own, here in step.output_map.items()})
        for request, tensors in zip(requests, known, strict=True):
            request.outputs = {tensor.name: tensors[tensor.name] for tensor in config.output}

    def _sequences(self, config: Any, requests: Sequence[Request]) -> None:
        waiting, states = list(requests), self.open[config.name]
        while waiting:
            batch: list[Request] = []
            for request in list(waiting):
                if len(batch) < config.max_batch_size and request.sequence not in {other.sequence for other in batch}:
                    batch.append(request)
                    waiting.remove(request)
            for request in batch:
                self._begin(config, request, states)
            names = [(state.input_name, state.output_name) for state in config.sequence_batching.state]
            carried = {taken: np.concatenate([states[r.sequence][taken] for r in batch]) for taken, _ in names}
            made = self._run(config, batch, carried)
            for row, request in enumerate(batch):
                states[request.sequence] = {taken: made[given][row : row + 1] for taken, given in names}
                if request.end:
                    del states[request.sequence]

    @staticmethod
    def _begin(config: Any, request: Request, states: dict[int, dict[str, Array]]) -> None:
        if not request.sequence:
            raise Refused("a request to a stateful model needs a correlation id other than 0")
        if request.start:
            initial = {state.input_name: state.initial_state[0] for state in config.sequence_batching.state}
            assert all(first.WhichOneof("state_data") == "zero_data" for first in initial.values())
            states[request.sequence] = {name: np.zeros([1, *first.dims], np.float32) for name, first in initial.items()}
        elif request.sequence not in states:
            raise Refused(f"sequence {request.sequence} must specify the START flag on its first request")
        assert len(states) <= config.sequence_batching.oldest.max_candidate_sequences

    def _run(self, config: Any, batch: Sequence[Request], states: Mapping[str, Array]) -> dict[str, Array]:
        session = self._sessions[config.name]
        assert session is not None
        for request in batch:
            if {name: value.shape for name, value in request.inputs.items()} != {
                tensor.name: (1, *tensor.dims) for tensor in config.input
            }:
                raise Refused(f"{config.name}: other inputs than its configuration has")
        self.batches[config.name].append(len(batch))
        rows = {tensor.name: np.concatenate([r.inputs[tensor.name] for r in batch]) for tensor in config.input}
        names = [tensor.name for tensor in session.get_outputs()]
        made = dict(zip(names, session.run(names, {**rows, **states}), strict=True))
        for row, request in enumerate(batch):
            request.outputs = {tensor.name: made[tensor.name][row : row + 1] for tensor in config.output}
        return made
