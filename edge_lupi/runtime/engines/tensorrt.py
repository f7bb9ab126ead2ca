"""TensorRT engine, built for this GPU: {name: array} -> {name: array}.

Buffers are allocated once, for the largest batch; a run copies in, computes and copies out in one stream.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lupi.errors import BundleError, DeviceError, MissingExtra
from edge_lupi.runtime.engines.cuda import Buffer, Gpu, cuda_of_driver, device_of, find_gpu

__all__ = ["Tensorrt", "TensorrtEngine", "import_tensorrt", "make_log", "why_not"]

OLDEST = (10, 3)
NEEDS = (
    "TensorRT (on a Jetson JetPack has it: make the venv with --system-site-packages, "
    "and sudo apt-get install nvidia-jetpack if it is absent; elsewhere install it)"
)


def import_tensorrt(verb: str) -> ModuleType:
    """The module `tensorrt`, 10.3 or newer. Raises MissingExtra in the name of what the user typed."""
    try:
        return import_module("tensorrt")
    except (ImportError, OSError) as error:  # OSError: the bindings are there, the libraries are not
        raise MissingExtra(verb, NEEDS, "tensorrt") from error


class Tensorrt:
    """TensorRT as it is installed here, and the GPU if there is one. Raises MissingExtra without TensorRT, DeviceError
    where it is too old, or too new for the driver: no object of it exists then, as some end the process.
    """

    def __init__(self, verb: str) -> None:
        self.module = import_tensorrt(verb)
        self.gpu = find_gpu()
        if said := why_not(self.module, cuda_of_driver() if self.gpu else None):
            raise DeviceError(said)
        self.device = device_of(str(self.module.__version__), self.gpu)

    def open(self, plan: bytes, name: str, max_batch: int = 0) -> TensorrtEngine:
        """An engine that `compile.tensorrt` built on this device; it knows its largest batch itself."""
        assert self.gpu is not None
        return TensorrtEngine(plan, self.module, self.gpu, name=name)


def why_not(trt: ModuleType, driver: tuple[int, int] | None) -> str:
    """Why this TensorRT cannot work here, and what to do; empty where it can. `driver` is the newest CUDA that it knows.

    A newer driver runs an older CUDA. The other way round TensorRT 10 raises, and 11 ends the process at its first engine.
    """
    found = str(trt.__version__)
    if tuple(int(part) for part in re.findall(r"\d+", found)[:2]) < OLDEST:
        return (
            f"TensorRT {found} is too old, engines need strongly typed networks of 10.3 or newer "
            "(JetPack 6.0 has 8.6): on a Jetson install JetPack 6.1 or newer"
        )
    built_for = _cuda_majors(trt)
    if driver and built_for and driver[0] < min(built_for):
        return (
            f"TensorRT {found} is built for CUDA {min(built_for)}, and this NVIDIA driver knows CUDA {driver[0]}.{driver[1]}: "
            f"update the driver, or pip install tensorrt-cu{driver[0]}"
        )
    return ""


def _cuda_majors(trt: ModuleType) -> set[int]:
    """The CUDA that the installed wheels are built for; none where TensorRT came another way (JetPack's suits its driver)."""
    wheels = Path(trt.__file__ or "").absolute().parents[1].glob(f"tensorrt*_cu*-{trt.__version__}.dist-info")
    return {int(found[1]) for wheel in wheels if (found := re.search(r"_cu(\d+)[_-]", wheel.name))}


def make_log(trt: ModuleType) -> Any:
    """A logger that prints nothing; `errors` holds what went wrong, in TensorRT's words."""

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, text: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(text)

    return Log()


@dataclass
class Profile:
    """Batches of at most `most` and the execution context that runs them; `batch` is that of the last run, 0 before it."""

    context: Any
    most: int
    batch: int = 0


class TensorrtEngine:
    """Runs one engine. `plan` must have been checked to be this device's: TensorRT may crash on another's.

    An engine for large batches has a second optimisation profile for them, and each profile a context of its own: going
    from one to the other sets nothing anew.
    """

    def __init__(self, plan: bytes, trt: ModuleType, gpu: Gpu, *, name: str = "engine") -> None:
        self._name, self._gpu, self._log = name, gpu, make_log(trt)
        self._lock = threading.Lock()  # an execution context holds shapes, addresses and work of one run
        gpu.use()
        try:
            self._runtime = trt.Runtime(self._log)
        except TypeError as error:  # "factory function returned nullptr": CUDA did not start
            raise DeviceError(
                f"TensorRT {trt.__version__} does not start on {gpu.name} ({self._reason(0)}): update the NVIDIA driver, or listen on the CPU"
            ) from error
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        count = self._engine.num_optimization_profiles if self._engine else 0
        contexts = [self._engine.create_execution_context() for _ in range(count)]
        if not contexts or not all(contexts):
            raise BundleError(f"TensorRT {trt.__version__} cannot load {name} ({self._reason(0)}): build it anew")
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        inputs = [n for n in names if self._engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT]
        self._profiles = [self._profile(context, index, inputs) for index, context in enumerate(contexts)]
        largest = {tensor: self._largest(tensor, count - 1) for tensor in inputs}
        self._buffers = {tensor: Buffer(gpu, shape) for tensor, shape in largest.items()}
        self.input_shapes = largest
        self.output_names = [n for n in names if n not in self.input_shapes]
        for tensor in self.output_names:
            self._buffers[tensor] = Buffer(gpu, self._known(tensor, contexts[-1].get_tensor_shape(tensor)))
        for context, (tensor, buffer) in product(contexts, self._buffers.items()):
            self._must(context.set_tensor_address(tensor, buffer.address), f"the address of {tensor}")

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Run the engine once. Shapes are those of the graph, the batch at most the engine's; dtypes float32."""
        batch = self._check(inputs)
        with self._lock:
            self._gpu.use()
            taken = self._select(batch)
            context = taken.context
            if batch != taken.batch:
                taken.batch = 0  # until all are set
                for name, values in inputs.items():
                    self._must(context.set_input_shape(name, values.shape), f"the shape {values.shape} of {name}")
                taken.batch = batch
            for name, values in inputs.items():
                self._buffers[name].upload(values)
            self._must(context.execute_async_v3(self._gpu.stream), "to run")
            for name in self.output_names:
                self._buffers[name].download(batch)
            self._gpu.wait()
            return {name: self._buffers[name].array[:batch].copy() for name in self.output_names}

    def _profile(self, context: Any, index: int, inputs: Sequence[str]) -> Profile:
        """The context with its profile, and its largest shapes. TensorRT gives the first context the first profile itself."""
        if index:
            self._must(context.set_optimization_profile_async(index, self._gpu.stream), f"profile {index}")
            self._gpu.wait()
        most = 0
        for tensor in inputs:
            shape = self._largest(tensor, index)
            self._must(context.set_input_shape(tensor, shape), f"the shape {shape} of {tensor}")
            most = shape[0]
        return Profile(context, most)

    def _largest(self, tensor: str, index: int) -> tuple[int, ...]:
        return self._known(tensor, self._engine.get_tensor_profile_shape(tensor, index)[2])

    def _select(self, batch: int) -> Profile:
        return next(taken for taken in self._profiles if batch <= taken.most)

    def _must(self, done: object, what: str) -> None:
        """TensorRT answers False where it refuses. Raises DeviceError then."""
        if not done:
            raise DeviceError(
                f"{self._name} refused {what} on the GPU ({self._reason(-1)}): build it anew, or listen on the CPU"
            )

    def _known(self, tensor: str, shape: Any) -> tuple[int, ...]:
        """A shape without -1, which stands for what TensorRT does not know."""
        sizes = tuple(int(size) for size in shape)
        if not sizes or min(sizes) < 1:
            raise BundleError(f"{self._name} does not say how large {tensor} is, got {sizes}: build it anew")
        return sizes

    def _reason(self, which: int) -> str:
        return self._log.errors[which][:160] if self._log.errors else "no reason given"

    def _check(self, inputs: Mapping[str, NDArray[np.float32]]) -> int:
        """The batch of these inputs."""
        batch = len(next(iter(inputs.values()), ()))
        for name, largest in self.input_shapes.items():
            shape = inputs[name].shape if name in inputs else ()
            if shape[1:] != largest[1:] or not 1 <= batch <= largest[0] or shape[:1] != (batch,):
                raise BundleError(
                    f"{self._name} takes {name} of at most {largest}, got {shape}: compile it with a larger max_batch"
                )
        return batch
