"""ONNX Runtime on the CPU, the default engine everywhere: {name: array} -> {name: array}.

No graph reaches the runtime unread: see `graph_walk` and `graph_bounds`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edge_lupi.bundle.graph_bounds import check_graph
from edge_lupi.errors import BundleError

__all__ = ["OnnxEngine"]


class OnnxEngine:
    """ONNX Runtime on the CPU, or where `options` say. One thread by default: a segment is too small to share, and the
    rest of the device is not ours. `check` raises BundleError for a graph that must not run: one that edge-lupi does not write.
    """

    def __init__(
        self,
        graph: bytes,
        *,
        threads: int = 1,
        name: str = "graph",
        options: ort.SessionOptions | None = None,
        check: Callable[[bytes, str], object] = check_graph,
    ) -> None:
        self._name = name
        check(graph, name)
        try:
            used = options or _on_cpu(threads)
            used.add_session_config_entry("session.load_model_format", "ONNX")  # which the check has read it as
            if options is None:
                self._session = ort.InferenceSession(graph, used, providers=["CPUExecutionProvider"])
            else:  # they name the device
                self._session = ort.InferenceSession(graph, used)
        except Exception as error:  # ONNX Runtime raises a family of its own without a common public base
            reason = str(error).splitlines()[0][:160]
            raise BundleError(
                f"{name} is not a graph that ONNX Runtime {ort.__version__} can load ({reason}): compile the student anew"
            ) from error
        self.input_shapes = {item.name: tuple(item.shape) for item in self._session.get_inputs()}
        self.output_names = [item.name for item in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Run the graph once. Shapes are those of the graph; dtypes float32."""
        try:
            values = self._session.run(None, dict(inputs))
        except Exception as error:  # as above; a graph of other names or shapes than the bundle says
            reason = str(error).splitlines()[0][:160]
            raise BundleError(
                f"{self._name} does not take what it is given ({reason}): compile the student anew"
            ) from error
        return dict(zip(self.output_names, values, strict=True))


def _on_cpu(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors come as exceptions, and are said once
    return options
