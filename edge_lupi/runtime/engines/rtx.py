"""TensorRT-RTX for desktop GPUs, as ONNX Runtime's plugin: an engine is a compiled ONNX model (EP context) in one file."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import onnxruntime as ort

from edge_lupi.bundle.graph_walk import refuse_outer_engine
from edge_lupi.errors import DeviceError, MissingExtra
from edge_lupi.runtime.engines.cuda import device_of, find_gpu
from edge_lupi.runtime.engines.onnx_runtime import NONE, OnnxEngine, Place, Settings, reason_of

__all__ = ["Rtx"]

NEEDS = "ONNX Runtime's TensorRT-RTX plugin (GeForce RTX and RTX PRO; on a Jetson use tensorrt)"


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
                "TensorRT-RTX found no RTX GPU here: compile with --target cpu, or on the machine with it"
            )
        self.device = device_of(f"RTX {plugin.__version__}", self.gpu)

    def place(self, precision: str = "", max_batch: int | None = None, settings: Settings = NONE) -> Place:
        """The GPU, with settings of the plugin's own; the precision lies in the graph."""
        options = ort.SessionOptions()
        options.log_severity_level = 4  # errors come as exceptions, and are said once
        options.add_provider_for_devices(self._devices, dict(settings))
        return Place(options, max_batch=max_batch)

    def open(self, context: bytes, name: str, max_batch: int) -> OnnxEngine:
        """An engine that `compile.engines.context` built."""
        return OnnxEngine(context, name=name, place=self.place(max_batch=max_batch), check=refuse_outer_engine)


def _register(plugin: Any) -> list[Any]:
    name = plugin.get_ep_name()
    if not any(device.ep_name == name for device in ort.get_ep_devices()):
        try:
            ort.register_execution_provider_library(name, plugin.get_library_path())
        except Exception as error:  # ONNX Runtime raises a family of its own without a common public base
            raise DeviceError(f"TensorRT-RTX cannot start ({reason_of(error)}): update the NVIDIA driver") from error
    return [device for device in ort.get_ep_devices() if device.ep_name == name]
