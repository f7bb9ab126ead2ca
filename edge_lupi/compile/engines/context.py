"""A graph -> an engine for TensorRT inside ONNX Runtime (TensorRT-RTX's plugin, the TensorRT provider): a compiled ONNX model."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edge_lupi.bundle.engines import EngineKey
from edge_lupi.errors import DeviceError
from edge_lupi.runtime.engines.onnx_gpu import OnnxTensorrt
from edge_lupi.runtime.engines.onnx_runtime import OnnxEngine, reason_of
from edge_lupi.runtime.engines.rtx import Rtx

__all__ = ["context_from_onnx"]


def context_from_onnx(graph: bytes, key: EngineKey, backend: Rtx | OnnxTensorrt) -> bytes:
    """Build. Raises DeviceError where nothing is compiled."""
    name = f"{key.name} ({key.precision})"
    inputs = OnnxEngine(graph, name=name).input_shapes
    settings = {
        "profile_min_shapes": _shapes(inputs, 1),
        "profile_opt_shapes": _shapes(inputs, 1),
        "profile_max_shapes": _shapes(inputs, key.max_batch),
        "max_workspace_size": str(key.workspace_mib << 20),
    }
    place = backend.place(
        key.precision, settings={f"{backend.prefix}{word}": value for word, value in settings.items()}
    )
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder) / "context.onnx"
        for word, value in (("enable", "1"), ("embed_mode", "1"), ("file_path", str(context))):
            place.options.add_session_config_entry(f"ep.context_{word}", value)
        try:
            place.session(graph)
            return context.read_bytes()
        except Exception as error:  # ONNX Runtime's own family, or no file
            raise DeviceError(
                f"{key.device.target} could not build {name} ({reason_of(error)}): compile for the target cpu, or free some GPU memory",
                options=("target",),
            ) from error


def _shapes(inputs: dict[str, tuple[int | str, ...]], batch: int) -> str:
    """As the providers want them: log_mel:16x80x1x50,..."""
    return ",".join(f"{name}:{'x'.join(map(str, (batch, *shape[1:])))}" for name, shape in inputs.items())
