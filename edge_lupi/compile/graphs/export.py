"""ONNX graphs from torch modules: front end, encoder (float or signed Q/DQ), aggregator. Batch is free, lengths are fixed."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Mapping

import onnx
import torch
from torch import Tensor, nn

from edge_lupi.bundle.graph_bounds import OPSET
from edge_lupi.frames import CONTEXT_SAMPLES, HOP_SAMPLES, MELS, SAMPLE_RATE_HZ, WINDOW_SAMPLES
from edge_lupi.models.front_end import FrontEndGraph
from edge_lupi.models.rounding import fix_ranges
from edge_lupi.models.student import Student, TaskBranch

__all__ = ["OPSET", "aggregator_graph", "encoder_graph", "front_end_graph"]


def front_end_graph(frames: int) -> onnx.ModelProto:
    """samples [B, 240 + 160 * F] -> log_mel [B, 80, 1, F] for a fixed F."""
    samples = torch.zeros(1, CONTEXT_SAMPLES + frames * HOP_SAMPLES)
    return _export(FrontEndGraph(), (samples,), ("samples",), ("log_mel",))


def encoder_graph(student: Student, ranges: Mapping[str, Tensor] | None = None) -> onnx.ModelProto:
    """log_mel [B, 80, 1, F] -> embedding [B, D]. With ranges, signed int8 Q/DQ on every stored activation and weight."""
    encoder = copy.deepcopy(student.encoder).fold()
    if ranges:
        fix_ranges(encoder, ranges)
    log_mel = torch.zeros(1, MELS, 1, student.config.segmentation.frames)
    model = _export(encoder, (log_mel,), ("log_mel",), ("embedding",))
    onnx.helper.set_model_props(model, _metadata(student))
    return model


def _metadata(student: Student) -> dict[str, str]:
    """What programs that load speaker models look for in a graph, by sherpa-onnx's names of it.

    sherpa-onnx itself (2.0.1) refuses a framework that it does not know; its own take features [N, T, 80] of any T.
    """
    return {
        "framework": "edge-lupi",
        "language": "unknown",
        "url": "unknown",
        "comment": "log-mel float32 [B, 80, 1, F] by front_end.onnx of the same bundle, F fixed -> embedding [B, D]",
        "sample_rate": str(SAMPLE_RATE_HZ),
        "output_dim": str(student.encoder.embedding_size),
        "feat_dim": str(MELS),
        "window_size_ms": str(1000 * WINDOW_SAMPLES // SAMPLE_RATE_HZ),
        "window_stride_ms": str(1000 * HOP_SAMPLES // SAMPLE_RATE_HZ),
        "normalize_samples": "1",  # samples in [-1, 1]
        "feature_normalize_type": "",
    }


def aggregator_graph(student: Student, task: str) -> onnx.ModelProto:
    """(embedding [B, D], state [B, K]) -> utterance [B, D], scores [B, C] where the task has labels, next_state [B, K]."""
    branch = student.branch(task)
    inputs = (torch.zeros(1, student.encoder.embedding_size), torch.zeros(1, branch.state_size))
    outputs = ("utterance", "next_state") if branch.header is None else ("utterance", "scores", "next_state")
    return _export(_OneStep(branch), inputs, ("embedding", "state"), outputs)


class _OneStep(nn.Module):
    """TaskBranch.step with the absent scores left out, as a graph has no None."""

    def __init__(self, branch: TaskBranch) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, embedding: Tensor, state: Tensor) -> tuple[Tensor, ...]:
        return tuple(value for value in self.branch.step(embedding, state) if value is not None)


def _export(
    module: nn.Module, inputs: tuple[Tensor, ...], names: tuple[str, ...], outputs: tuple[str, ...]
) -> onnx.ModelProto:
    buffer = io.BytesIO()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            inputs,
            buffer,  # type: ignore[arg-type]
            input_names=names,
            output_names=outputs,
            dynamic_axes={name: {0: "batch"} for name in (*names, *outputs)},
            opset_version=OPSET,
            dynamo=False,  # the tracer names nodes after modules and needs no further package
        )
    model = onnx.load_from_string(buffer.getvalue())
    shapes = _shapes(module, inputs, outputs)
    for value in model.graph.output:  # the tracer loses some widths; all but the batch are fixed
        for axis, length in enumerate(shapes[value.name][1:], 1):
            value.type.tensor_type.shape.dim[axis].dim_value = length
    onnx.checker.check_model(model, full_check=True)
    return model


@torch.no_grad()
def _shapes(module: nn.Module, inputs: tuple[Tensor, ...], outputs: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Shape by name of every output for inputs of these shapes."""
    found = module(*inputs)
    tensors = found if isinstance(found, tuple) else (found,)
    return {name: tuple(tensor.shape) for name, tensor in zip(outputs, tensors, strict=True)}
