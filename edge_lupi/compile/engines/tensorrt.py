"""A graph -> an engine, by TensorRT's Python API (10.3 to 11.x). Precision lives in the graph: networks are strongly typed.

Needs TensorRT alone, no torch and no onnx: engines are built on the device.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any

from edge_lupi.bundle.engines import Device
from edge_lupi.bundle.graph_bounds import check_graph
from edge_lupi.compile.findings import LIVE_BATCH
from edge_lupi.compile.request import BuilderOptions
from edge_lupi.disk import write_at_once
from edge_lupi.errors import BundleError, DeviceError
from edge_lupi.runtime.engines.tensorrt import make_log

__all__ = ["engine_from_onnx", "timing_cache_path"]


def engine_from_onnx(
    graph: bytes, options: BuilderOptions, trt: ModuleType, *, name: str, cache: Path | None = None
) -> bytes:
    """Build. Raises BundleError for a graph that TensorRT cannot read, DeviceError where the builder fails."""
    check_graph(graph, name)
    log = make_log(trt)
    try:
        builder = trt.Builder(log)
    except TypeError as error:  # "factory function returned nullptr": CUDA did not start
        raise DeviceError(
            f"TensorRT {trt.__version__} does not start ({_one_line('; '.join(log.errors))}): update the NVIDIA driver, or compile for the target cpu",
            options=("target",),
        ) from error
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(graph):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        reason = "; ".join(f"{error.node_name() or 'the graph'}: {error.desc()}" for error in errors)
        raise BundleError(
            f"TensorRT {trt.__version__} cannot read {name} ({_one_line(reason)}): compile the student anew"
        )
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    config.clear_flag(trt.BuilderFlag.TF32)  # fp32 means fp32
    for least, usual, most in _profiles(options.max_batch):
        _give_profile(builder, network, config, (least, usual, most))
    _give_timings(config, cache)
    log.errors.clear()  # what was wrong with the timings is no reason
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise DeviceError(
            f"TensorRT {trt.__version__} could not build {name} ({_one_line('; '.join(log.errors))}): free some memory, or raise workspace_mib",
            options=("workspace_mib",),
        )
    _keep_timings(config, cache)
    return bytes(plan)


def timing_cache_path(device: Device) -> Path:
    """Where measured kernel times are kept between builds, one file per TensorRT and GPU."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "edge-lupi" / f"tensorrt-{device.tensorrt}-sm{device.capability or 'none'}.timings"


def _profiles(max_batch: int) -> list[tuple[int, int, int]]:
    """Ranges of batches (least, tuned for, most): a stream's, tuned for 1, and beyond them one that is tuned for the largest."""
    live = (1, 1, min(max_batch, LIVE_BATCH))
    return [live] if max_batch <= LIVE_BATCH else [live, (LIVE_BATCH + 1, max_batch, max_batch)]


def _give_profile(builder: Any, network: Any, config: Any, batches: tuple[int, int, int]) -> None:
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        rest = tuple(tensor.shape)[1:]
        if min(rest) < 1:
            raise BundleError(f"TensorRT does not know how large {tensor.name} is ({rest}): compile the student anew")
        profile.set_shape(tensor.name, *((batch, *rest) for batch in batches))
    if config.add_optimization_profile(profile) < 0:
        raise DeviceError(
            f"TensorRT refused batches of {batches[0]} to {batches[-1]}: give another max_batch", options=("max_batch",)
        )


def _give_timings(config: Any, cache: Path | None) -> None:
    """A cache that is absent, damaged or another GPU's costs time, nothing else."""
    try:
        known = cache.read_bytes() if cache else b""
    except OSError:
        known = b""
    timings = config.create_timing_cache(known)
    if not timings or not config.set_timing_cache(timings, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _keep_timings(config: Any, cache: Path | None) -> None:
    timings = config.get_timing_cache()
    if cache is None or not timings:
        return
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_at_once(cache, bytes(timings.serialize()))
    except OSError:
        return  # the next build measures again


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300] or "no reason given"
