"""A graph -> an engine for TensorRT-RTX: a compiled ONNX model that ONNX Runtime's plugin writes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnxruntime as ort

from edge_lupi.compile.request import BuilderOptions
from edge_lupi.errors import DeviceError
from edge_lupi.runtime.engines.onnx_runtime import OnnxEngine
from edge_lupi.runtime.engines.rtx import Rtx

__all__ = ["context_from_onnx"]


def context_from_onnx(graph: bytes, options: BuilderOptions, rtx: Rtx, *, name: str) -> bytes:
    """Build. Raises DeviceError where the plugin compiles nothing."""
    inputs = OnnxEngine(graph, name=name).input_shapes
    session = rtx.options(
        nv_profile_min_shapes=_shapes(inputs, 1),
        nv_profile_opt_shapes=_shapes(inputs, 1),
        nv_profile_max_shapes=_shapes(inputs, options.max_batch),
        nv_max_workspace_size=str(options.workspace_mib << 20),
    )
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder) / "context.onnx"
        for key, value in (("enable", "1"), ("embed_mode", "1"), ("file_path", str(context))):
            session.add_session_config_entry(f"ep.context_{key}", value)
        try:
            ort.InferenceSession(graph, session)
            return context.read_bytes()
        except Exception as error:  # ONNX Runtime's own family, or no file
            reason = str(error).splitlines()[0][:160]
            raise DeviceError(
                f"TensorRT-RTX could not build {name} ({reason}): compile with --target cpu, or free some GPU memory"
            ) from error


def _shapes(inputs: dict[str, tuple[int | str, ...]], batch: int) -> str:
    """As the plugin wants them: log_mel:16x80x1x50,..."""
    return ",".join(f"{name}:{'x'.join(map(str, (batch, *shape[1:])))}" for name, shape in inputs.items())
