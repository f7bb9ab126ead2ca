"""Inference engines: each runs one graph, {name: array} -> {name: array}, whatever is underneath; a backend opens engines on its device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numpy import float32
from numpy.typing import NDArray

from edge_lupi.bundle.engines import Device
from edge_lupi.runtime.engines.cuda import Gpu

__all__ = ["Backend", "Engine"]


class Engine(Protocol):
    """What runs a graph, whatever is underneath."""

    @property
    def input_shapes(self) -> Mapping[str, tuple[Any, ...]]:
        """Shape by name of every input, the batch first."""

    def run(self, inputs: Mapping[str, NDArray[float32]]) -> dict[str, NDArray[float32]]:
        """Run the graph once."""


class Backend(Protocol):
    """What builds and runs engines: the device they are bound to, and how one is opened."""

    device: Device

    @property
    def gpu(self) -> Gpu | None:
        """The GPU that engines run on, if there is one."""

    def open(self, plan: bytes, name: str, max_batch: int) -> Engine:
        """An engine that was built on this device, for batches of 1 to `max_batch`."""
