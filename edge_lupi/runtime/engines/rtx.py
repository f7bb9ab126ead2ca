"""TensorRT-RTX for desktop GPUs, as ONNX Runtime's plugin: an engine is a compiled ONNX model (EP context) in one file."""

from __future__ import annotations

import hashlib
import os
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import onnxruntime as ort

from edge_lupi.bundle.graph_walk import refuse_outer_engine
from edge_lupi.errors import DeviceError, MissingExtra
from edge_lupi.runtime.engines.cuda import device_of, find_gpu
from edge_lupi.runtime.engines.onnx_runtime import NONE, OnnxEngine, Place, Settings, reason_of

__all__ = ["Rtx"]

NEEDS = "ONNX Runtime's TensorRT-RTX plugin (GeForce RTX and RTX PRO of compute capability 8.6 and newer; on a Jetson use tensorrt)"


class Rtx:
    """The plugin, registered, and the GPUs it can use. Raises MissingExtra without it, DeviceError without an RTX GPU."""

    prefix = "nv_"  # of its settings

    def __init__(self, verb: str) -> None:
        try:
            plugin = import_module("onnxruntime_ep_nv_tensorrt_rtx")
        except (ImportError, OSError) as error:
            raise MissingExtra(verb, NEEDS, "tensorrt-rtx") from error
        self.gpu = find_gpu()
        self._devices = _register(plugin) if self.gpu else []
        if self.gpu is None or not self._devices:
            raise DeviceError(
                "TensorRT-RTX found no RTX GPU of compute capability 8.6 or newer here: edge-lupi compile --target cpu, or on the machine with it"
            )
        self.device = device_of(f"RTX {plugin.__version__}", self.gpu)

    def place(self, precision: str = "", max_batch: int | None = None, settings: Settings = NONE) -> Place:
        """The GPU, with settings of the plugin's own; the precision lies in the graph."""
        options = ort.SessionOptions()
        options.log_severity_level = 4  # errors come as exceptions, and are said once
        options.add_provider_for_devices(self._devices[:1], dict(settings))
        return Place(options, max_batch=max_batch)

    def open(self, context: bytes, name: str, max_batch: int) -> OnnxEngine:
        """An engine that `compile.engines.context` built. Its kernels are compiled when it first runs, and kept for the next start.

        Kept kernels that it does not start with are thrown away. They lie in the user's cache, not in the bundle, whose
        hashes would not cover them.
        """
        kernels = _kernels(context, self.device.tensorrt)
        if kernels:
            try:
                return self._opened(context, name, max_batch, {"nv_runtime_cache_path": str(kernels)})
            except DeviceError:
                shutil.rmtree(kernels, ignore_errors=True)
        return self._opened(context, name, max_batch, NONE)

    def _opened(self, context: bytes, name: str, max_batch: int, settings: Settings) -> OnnxEngine:
        place = self.place(max_batch=max_batch, settings=settings)
        return OnnxEngine(context, name=name, place=place, check=refuse_outer_engine)


def _kernels(context: bytes, software: str) -> Path | None:
    """The folder of an engine's compiled kernels, made where that is possible."""
    name = f"{software.replace(' ', '-')}-{hashlib.sha256(context).hexdigest()[:16]}.kernels"
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-lupi" / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: this user has no home
        return None
    return folder


def _register(plugin: Any) -> list[Any]:
    name = plugin.get_ep_name()
    if not any(device.ep_name == name for device in ort.get_ep_devices()):
        try:
            ort.register_execution_provider_library(name, plugin.get_library_path())
        except Exception as error:  # ONNX Runtime raises a family of its own without a common public base
            raise DeviceError(f"TensorRT-RTX cannot start ({reason_of(error)}): update the NVIDIA driver") from error
    return [device for device in ort.get_ep_devices() if device.ep_name == name]
