"""ONNX Runtime on the CPU, the default engine everywhere: {name: array} -> {name: array}. On a GPU where a `Place` says so.

No graph reaches the runtime unread: see `graph_walk` and `graph_bounds`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edge_lupi.bundle.graph_bounds import check_graph
from edge_lupi.errors import BundleError, DeviceError

__all__ = ["NONE", "OnnxEngine", "Place", "Settings", "reason_of"]

Settings = Mapping[str, str]
Arrays = Mapping[str, NDArray[Any]]
Shapes = tuple[tuple[int, ...], ...]
NONE: Settings = {}
MOST_BOUND = 8  # shapes of inputs that stay bound, the newest; one stream has two or three
MOST_BOUND_BYTES = 1 << 17  # of many streams' inputs, whose runs take long beside what is saved
UPDATE = "update the NVIDIA driver, or build the engines anew on this device"


@dataclass(frozen=True)
class Place:
    """Where ONNX Runtime runs a graph: session options, and the providers with their settings where the options name none.

    Batches are 1 to `max_batch`, any where it is None. `mend` is what a user can do where the device fails.
    """

    options: ort.SessionOptions
    providers: Sequence[tuple[str, Settings]] = ()
    max_batch: int | None = None
    mend: str = UPDATE

    def session(self, graph: bytes) -> ort.InferenceSession:
        """A session on that device and no other. Raises what ONNX Runtime raises, RuntimeError where the device does not start."""
        providers = [(name, dict(settings)) for name, settings in self.providers] or None
        session = ort.InferenceSession(graph, self.options, providers=providers, enable_fallback=0)
        if providers and (started := session.get_providers()[0]) != providers[0][0]:
            raise RuntimeError(f"{providers[0][0]} did not start, only {started}")
        return session


class OnnxEngine:
    """ONNX Runtime on the CPU, or on the GPU of a `place`. One thread by default: a segment is too small to share, and the
    rest of the device is not ours. `check` raises BundleError for a graph that must not run: one that edge-lupi does not write.
    `foreign` is a graph whose results may have other shapes each time, whatever those of its inputs.
    On a GPU whatever goes wrong afterwards is a DeviceError.
    """

    def __init__(
        self,
        graph: bytes,
        *,
        threads: int = 1,
        name: str = "graph",
        place: Place | None = None,
        check: Callable[[bytes, str], object] = check_graph,
        foreign: bool = False,
    ) -> None:
        self._name, self._mend = name, place.mend if place else ""
        check(graph, name)
        try:
            used = place or Place(_on_cpu(threads), [("CPUExecutionProvider", {})])
            used.options.add_session_config_entry("session.load_model_format", "ONNX")  # which the check has read it as
            self._session = used.session(graph)
        except Exception as error:  # ONNX Runtime raises a family of its own without a common public base
            if place:
                raise DeviceError(f"{name} does not start on the GPU ({reason_of(error)}): {place.mend}") from error
            raise BundleError(
                f"{name} is not a graph that ONNX Runtime {ort.__version__} can load ({reason_of(error)}): compile the student anew"
            ) from error
        shapes = {item.name: tuple(item.shape) for item in self._session.get_inputs()}
        most = used.max_batch
        self.input_shapes = {name: (most, *shape[1:]) if most else shape for name, shape in shapes.items()}
        self.output_names = [item.name for item in self._session.get_outputs()]
        self._bound = dict[Shapes, _Bound]()
        self._most_bytes = 0 if place or foreign else MOST_BOUND_BYTES  # a GPU has memory of its own

    def run(self, inputs: Arrays) -> dict[str, NDArray[np.float32]]:
        """Run the graph once. Shapes and types are those of the graph: float32 but for places in arrays."""
        try:
            return self._run(inputs)
        except Exception as error:  # as above; a graph of other names or shapes than the bundle says
            if self._mend:
                raise DeviceError(f"{self._name} failed on the GPU ({reason_of(error)}): {self._mend}") from error
            raise BundleError(
                f"{self._name} does not take what it is given ({reason_of(error)}): compile the student anew"
            ) from error

    def _run(self, inputs: Arrays) -> dict[str, NDArray[np.float32]]:
        """In arrays that are bound to inputs of these shapes, after the first time. Two threads never have the same."""
        shapes = tuple([array.shape for array in inputs.values()])
        bound = self._bound.pop(shapes, None)  # ours alone as long as we use it
        if bound:
            result = bound.run(inputs)
        else:
            values = self._session.run(self.output_names, inputs)
            result = dict(zip(self.output_names, values, strict=True))
            if sum(array.nbytes for array in inputs.values()) > self._most_bytes:
                return result
            bound = _Bound(self._session, inputs, result)
        self._bound[shapes] = bound
        if len(self._bound) > MOST_BOUND:
            for oldest in list(self._bound)[:-MOST_BOUND]:
                self._bound.pop(oldest, None)
        return result


class _Bound:
    """A session's inputs and outputs in arrays of these shapes, for which it has not to be told anything at each run."""

    def __init__(self, session: ort.InferenceSession, inputs: Arrays, outputs: Arrays) -> None:
        self._session = session
        self._inputs = {name: array.copy() for name, array in inputs.items()}
        self._outputs = {name: array.copy() for name, array in outputs.items()}
        self._binding = session.io_binding()
        for name, array in self._inputs.items():
            self._binding.bind_cpu_input(name, array)
        for name, array in self._outputs.items():
            self._binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

    def run(self, inputs: Arrays) -> dict[str, NDArray[np.float32]]:
        """Inputs of those shapes -> outputs, which nobody else has."""
        for name, array in self._inputs.items():
            array[...] = inputs[name]
        self._session.run_with_iobinding(self._binding)
        return {name: array.copy() for name, array in self._outputs.items()}


def reason_of(error: BaseException) -> str:
    """The first line of what ONNX Runtime says, without the place in its source."""
    line = next(iter(str(error).splitlines()), "")
    return re.sub(r"^\S+\.cc:\d+ [^)]*\) ", "", line)[:160].rstrip(" .") or type(error).__name__


def _on_cpu(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors come as exceptions, and are said once
    return options
