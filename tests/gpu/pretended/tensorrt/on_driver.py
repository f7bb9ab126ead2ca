"""Graphs on the pretended driver: computed by ONNX Runtime inside a step of the stream, on the GPU's own memory."""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

FLOAT_BYTES = 4
KEPT = 8  # calls that a stream may still make
WRONG_BATCH = os.environ.get("PRETENDED_TENSORRT_FAULT") == "wrong-batch"  # right on a single segment alone
FAST = bool(os.environ.get("PRETENDED_TENSORRT_FAST"))
_Kernel = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_cuda = ctypes.CDLL("libcuda.so.1")
_cuda.pretended_launch.argtypes = [ctypes.c_void_p, _Kernel]
_cuda.pretended_open.argtypes = [ctypes.c_uint64, ctypes.c_size_t, ctypes.c_int]


def fault(text: str) -> None:
    """A rule was broken: said and counted as the driver's own."""
    _cuda.pretended_fault(text.encode())


class Graph:
    """`inputs`, `outputs`: dimensions by name, the batch a word."""

    def __init__(self, data: bytes) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        # operator by operator: ONNX Runtime's own int8 kernels saturate on x86, where the grid is signed
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self.inputs = {item.name: tuple(item.shape) for item in self._session.get_inputs()}
        self.outputs = {item.name: tuple(item.shape) for item in self._session.get_outputs()}
        self._running, self._lock = 0, threading.Lock()
        self._calls: list[Any] = []
        self._known: dict[bytes, list[NDArray[np.float32]]] = {}

    def touched(self, call: str) -> None:
        """A call that must not come while the context works."""
        if self._running:
            fault(f"{call} while an enqueue of this context is running")

    def enqueue(self, stream: int, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> bool:
        """Put the computation into the stream. False where this thread has no context."""
        if not _cuda.pretended_has_context():
            fault("execute_async_v3 on a thread without a current context")
            return False
        with self._lock:
            if self._running:
                fault("two enqueues of one execution context at once")
            self._running += 1

        def kernel(_: int | None) -> None:
            try:
                self._compute(shapes, addresses)
            except Exception as error:  # nobody else would hear of it
                fault(f"a kernel died: {error}")
            with self._lock:
                self._running -= 1

        call = _Kernel(kernel)
        self._calls = [*self._calls[1 - KEPT :], call]
        return int(_cuda.pretended_launch(stream, call)) == 0

    def _compute(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
        views = {name: _view(addresses[name], shape) for name, shape in shapes.items()}
        try:
            given = {name: views[name].copy() for name in self.inputs}
            for name, values in zip(self.outputs, self._answers(given), strict=True):
                views[name][...] = values[:, ::-1] if WRONG_BATCH and len(values) > 1 else values
        finally:
            for name, shape in shapes.items():
                _cuda.pretended_open(addresses[name], FLOAT_BYTES * int(np.prod(shape)), 0)

    def _answers(self, given: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        key = b"".join(values.tobytes() for values in given.values()) if FAST else b""
        if key not in self._known:
            answers = self._session.run(None, given)
            if not FAST:
                return list(answers)
            self._known[key] = list(answers)
        return self._known[key]


def _view(address: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    count = int(np.prod(shape))
    if not _cuda.pretended_open(address, FLOAT_BYTES * count, 1):
        raise RuntimeError("illegal address")
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address)).reshape(shape)
