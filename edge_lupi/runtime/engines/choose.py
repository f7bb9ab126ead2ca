"""Engine choice: which of a bundle's may run here, or why not. One is loaded only after it was found to be this device's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from numpy import float32
from numpy.typing import NDArray

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.bundle.engines import ENCODER, FOLDER, Built, Device, differences, read_engine
from edge_lupi.errors import DeviceError, MissingExtra
from edge_lupi.runtime.engines.cuda import device_of, find_gpu, why_no_gpu
from edge_lupi.runtime.engines.engine import Backend, Engine
from edge_lupi.runtime.engines.onnx_gpu import OnnxCuda, OnnxTensorrt
from edge_lupi.runtime.engines.rtx import Rtx
from edge_lupi.runtime.engines.tensorrt import Tensorrt

__all__ = ["BACKENDS", "Spared", "engine_lines", "engines_plain", "misfit", "open_engine"]


class Spared:
    """An engine on the GPU with a spare for the CPU, made and taken for good at the first error of the GPU, which `on_error` is given."""

    def __init__(self, engine: Engine, spare: Callable[[], Engine], on_error: Callable[[DeviceError], None]) -> None:
        self._engine, self._spare, self._on_error = engine, spare, on_error
        self._is_spare = False

    @property
    def input_shapes(self) -> Mapping[str, tuple[Any, ...]]:
        """Of the engine that runs."""
        return self._engine.input_shapes

    def run(self, inputs: Mapping[str, NDArray[float32]]) -> dict[str, NDArray[float32]]:
        """Run the graph once, here or there; all state is in the inputs, so nothing is lost between them."""
        try:
            return self._engine.run(inputs)
        except DeviceError as error:
            if self._is_spare:
                raise
            self._on_error(error)
            self._engine, self._is_spare = self._spare(), True
            return self._engine.run(inputs)


BACKENDS: Mapping[str, Callable[[str], Backend]] = {
    "tensorrt": Tensorrt,
    "tensorrt-rtx": Rtx,
    OnnxTensorrt.target: OnnxTensorrt,
    OnnxCuda.target: OnnxCuda,
}


def misfit(bundle: Bundle, built: Built, here: Device) -> str:
    """Why an engine of the bundle cannot run here; empty where it can."""
    file = bundle.tensorrt_graphs.get(built.key.name, {}).get(built.key.precision)
    graph = hashlib.sha256(bundle.file(file)).hexdigest() if file else ""
    said = differences(built.key, replace(built.key, device=here, graph_sha256=graph))
    return said or ("" if here.capability and here.tensorrt else "built without a GPU, to see that it builds")


def engines_plain(bundle: Bundle) -> list[dict[str, Any]]:
    """A bundle's engines and why they do not fit this device (empty: they do), as JSON has it."""
    devices = [backend.device for backend in _backends("inspect", bundle.engines)[0]]
    gpu = find_gpu() if bundle.engines else None
    devices = devices or [device_of("", gpu)]
    return [
        {
            "name": b.key.name,
            "precision": b.key.precision,
            "bytes": b.bytes,
            "max_batch": b.key.max_batch,
            "chosen": b.chosen,
            "misfit": min((misfit(bundle, b, here) for here in devices), key=bool),
        }
        for b in bundle.engines
    ]


def engine_lines(bundle: Bundle) -> list[str]:
    """The same for people, a line each."""
    return [
        f"engine     {e['name']} {e['precision']}, {e['bytes']} bytes, batches to {e['max_batch']}: "
        f"{e['misfit'] or 'fits this device'}{', chosen' if e['chosen'] else ''}"
        for e in engines_plain(bundle)
    ] + [f"engine     {bundle.engines_fault}"] * bool(bundle.engines_fault)


def open_engine(bundle: Bundle) -> tuple[str, Engine]:
    """The encoder's chosen precision and its engine. Raises DeviceError or BundleError saying why not."""
    if find_gpu() is None:
        raise DeviceError(why_no_gpu() or f"the engines in {bundle.path} need an NVIDIA GPU, and there is none here")
    encoders = [built for built in bundle.engines if built.key.name == ENCODER]
    backends, reasons = _backends("listen on the GPU", encoders)
    if encoders and not backends:
        raise DeviceError("; ".join(reasons))
    for backend in backends:
        for built in encoders:
            if built.chosen and not misfit(bundle, built, backend.device):
                data = read_engine(bundle.path / FOLDER, built)
                return built.key.precision, backend.open(data, built.key.name, built.key.max_batch)
        reasons += [
            misfit(bundle, built, backend.device) or "another was faster or truer when it was built"
            for built in encoders
        ]
    raise DeviceError(
        f"no engine in {bundle.path} fits ({'; '.join(dict.fromkeys(reasons))}): "
        f"build here with edge-lupi compile BUNDLE --target {encoders[0].key.device.target if encoders else 'tensorrt'}"
    )


def _backends(verb: str, engines: Iterable[Built]) -> tuple[list[Backend], list[str]]:
    """Those that these engines were built for and that are installed; and why others are not."""
    targets = {built.key.device.target for built in engines}
    made = [_made(make, verb) for target, make in BACKENDS.items() if target in targets]
    backends = [backend for backend in made if not isinstance(backend, str)]
    return backends, [reason for reason in made if isinstance(reason, str)]


def _made(make: Callable[[str], Backend], verb: str) -> Backend | str:
    try:
        return make(verb)
    except (DeviceError, MissingExtra) as error:
        return str(error)
