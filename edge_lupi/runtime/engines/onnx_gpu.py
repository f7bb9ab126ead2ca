"""ONNX Runtime's own CUDA and TensorRT providers, of the package onnxruntime-gpu, where the user has that instead of onnxruntime.

For CUDA an engine is the bundle's graph itself; for TensorRT it is a compiled ONNX model (EP context) in one file.
"""

from __future__ import annotations

import io
from contextlib import redirect_stdout

import onnxruntime as ort

from edge_lupi.bundle.graph_bounds import check_graph
from edge_lupi.bundle.graph_walk import refuse_outer_engine
from edge_lupi.errors import DeviceError, MissingExtra
from edge_lupi.runtime.engines.cuda import cuda_of_driver, device_of, find_gpu
from edge_lupi.runtime.engines.onnx_runtime import NONE, OnnxEngine, Place, Settings

__all__ = ["CUDA", "INSTALL", "TENSORRT", "OnnxCuda", "OnnxTensorrt"]

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
MEND = "install CUDA and cuDNN, pip install 'onnxruntime-gpu[cuda,cudnn]', or update the NVIDIA driver"
INSTALL = "pip uninstall onnxruntime, then pip install 'onnxruntime-gpu[cuda,cudnn]'"  # one module, two packages


class OnnxCuda:
    """The CUDA provider, and the GPU. Raises MissingExtra without the provider, DeviceError without a GPU.

    That a provider is there says nothing of the libraries it needs: whether it starts shows when an engine is opened.
    """

    target, provider, install = "onnxruntime-cuda", CUDA, INSTALL

    def __init__(self, verb: str) -> None:
        if self.provider not in ort.get_available_providers():
            name = self.provider.removesuffix("ExecutionProvider")
            raise MissingExtra(verb, f"ONNX Runtime with its provider {name}", install=self.install)
        self.gpu = find_gpu()
        if self.gpu is None:
            raise DeviceError(
                f"{self.target} found no NVIDIA GPU here: edge-lupi compile --target cpu, or on the machine with it"
            )
        driver = ".".join(map(str, cuda_of_driver()))
        self.device = device_of(f"{self.target} {ort.__version__} and a driver of CUDA {driver}", self.gpu)

    def place(self, precision: str = "", max_batch: int | None = None, settings: Settings = NONE) -> Place:
        """The GPU; what no kernel of it computes runs on the CPU. fp32 means fp32."""
        return Place(_options(), [(self.provider, {"use_tf32": "0"})], max_batch, MEND)

    def open(self, graph: bytes, name: str, max_batch: int) -> OnnxEngine:
        """A graph of the bundle."""
        return OnnxEngine(graph, name=name, place=self.place(max_batch=max_batch), check=check_graph)


class OnnxTensorrt(OnnxCuda):
    """The TensorRT provider, as above."""

    target, provider = "onnxruntime-tensorrt", TENSORRT
    install = f"{INSTALL} and the TensorRT that it was built with"
    prefix = "trt_"  # of its settings

    def place(self, precision: str = "", max_batch: int | None = None, settings: Settings = NONE) -> Place:
        """The GPU, with settings of the provider's own; a graph that holds int8 or fp16 needs them to be allowed."""
        allowed = {f"trt_{precision}_enable": "1"} if precision in ("int8", "fp16") else {}
        return Place(_options(), [(self.provider, {**allowed, **settings}), (CUDA, {"use_tf32": "0"})], max_batch, MEND)

    def open(self, context: bytes, name: str, max_batch: int) -> OnnxEngine:
        """An engine that `compile.engines.context` built."""
        return OnnxEngine(context, name=name, place=self.place(max_batch=max_batch), check=refuse_outer_engine)


def _options() -> ort.SessionOptions:
    """CUDA's and cuDNN's libraries are looked for in NVIDIA's wheels, too. Of what it does not find, ONNX Runtime says nothing
    on stdout or stderr: it is said once, where the provider does not start.
    """
    ort.set_default_logger_severity(4)
    if hasattr(ort, "preload_dlls"):  # from 1.21 on
        with redirect_stdout(io.StringIO()):
            ort.preload_dlls(directory="")
    options = ort.SessionOptions()
    options.log_severity_level = 4  # errors come as exceptions, and are said once
    options.intra_op_num_threads = 1
    return options
