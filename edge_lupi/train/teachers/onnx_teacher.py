"""ONNX teacher. samples float32 [B, T] -> its front end -> the graph -> vectors float32 [B, D].

| front end   | the graph takes                                                                                |
|-------------|------------------------------------------------------------------------------------------------|
| kaldi-fbank | [B, F, 80]: Kaldi's filter banks (25 ms every 10 ms, no dither), less their mean over time       |
| log-mel     | [B, 80, 1, F]: what the student itself hears                                                   |
| raw         | [B, T]: samples                                                                                |
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_lupi.bundle.graph_walk import refuse_external_data
from edge_lupi.errors import BundleError, InputError
from edge_lupi.models.front_end import log_mel
from edge_lupi.runtime.engines.onnx_runtime import OnnxEngine
from edge_lupi.train.teachers.kaldi import kaldi_fbank

__all__ = ["FRONT_ENDS", "OnnxTeacher"]


class OnnxTeacher:
    """The graph's first input and output count; a batch must be free, or one. Any operator may be in it, no external data."""

    def __init__(self, graph: bytes, front_end: str, name: str) -> None:
        self.front_end = FRONT_ENDS[front_end]
        self.name = name
        self.takes = f"{front_end} {_SHAPES[front_end]}"
        try:
            threads = torch.get_num_threads()
            self.engine = OnnxEngine(graph, threads=threads, name=name, check=refuse_external_data, foreign=True)
        except BundleError as error:
            raise InputError(f"expected a teacher that ONNX Runtime can load in {name}, got {error}") from error
        self.input = next(iter(self.engine.input_shapes), "")
        self.one_by_one = self.engine.input_shapes.get(self.input, ())[:1] == (1,)

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [B, T] -> float32 [B, D]."""
        heard = self.front_end(torch.from_numpy(samples)).numpy()
        rows = np.split(heard, len(heard)) if self.one_by_one else [heard]
        try:
            said = np.concatenate([next(iter(self.engine.run({self.input: row}).values())) for row in rows])
        except BundleError as error:
            raise InputError(
                f"expected a teacher that takes {self.takes} in {self.name}, got {error}: set teachers.front_end to what it was made for"
            ) from error
        vectors = said.reshape(len(said), -1) if said.ndim and said.size else said
        if vectors.shape[0] != len(samples) or vectors.ndim != 2 or not np.isfinite(vectors).all():
            raise InputError(
                f"expected finite vectors [{len(samples)}, D] from {self.name}, got shape {said.shape} or NaN: check the file"
            )
        return vectors.astype(np.float32, copy=False)


FRONT_ENDS: dict[str, Callable[[Tensor], Tensor]] = {
    "kaldi-fbank": kaldi_fbank,
    "log-mel": log_mel,
    "raw": lambda samples: samples,
}
_SHAPES = {"kaldi-fbank": "[B, F, 80]", "log-mel": "[B, 80, 1, F]", "raw": "[B, T]"}
