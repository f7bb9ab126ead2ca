"""A bundle's engines: built from the graphs beside them, kept while they fit, on a GPU measured and chosen.

Needs TensorRT or ONNX Runtime's GPU package, no torch and no onnx: it runs on the device, on a bundle that a workstation compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.bundle.engines import (
    ENCODER,
    FOLDER,
    Built,
    Device,
    EngineKey,
    differences,
    locked,
    read_engine,
    read_engines,
    write_choice,
    write_engine,
)
from edge_lupi.bundle.manifest import MANIFEST, manifest_bytes, parsed_manifest
from edge_lupi.compile.choice import Choice, fastest
from edge_lupi.compile.engines.context import context_from_onnx
from edge_lupi.compile.engines.tensorrt import engine_from_onnx, timing_cache_path
from edge_lupi.compile.evidence import Evidence
from edge_lupi.compile.findings import CPU, Findings
from edge_lupi.compile.measure import measure, measure_live
from edge_lupi.compile.request import BuilderOptions, Request
from edge_lupi.errors import BundleError, DeviceError, InputError
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.engines.choose import BACKENDS
from edge_lupi.runtime.engines.cuda import why_no_gpu
from edge_lupi.runtime.engines.engine import Backend, Engine
from edge_lupi.runtime.engines.onnx_gpu import OnnxCuda, OnnxTensorrt
from edge_lupi.runtime.engines.onnx_runtime import OnnxEngine
from edge_lupi.runtime.engines.rtx import Rtx
from edge_lupi.runtime.engines.tensorrt import Tensorrt
from edge_lupi.sound.audio import from_pcm

__all__ = ["EngineReport", "build_engines", "engine_for", "engine_key"]

Build = Callable[[bytes, EngineKey], bytes]


@dataclass(frozen=True)
class EngineReport:
    """A bundle's engines for this device, and the choice among them where there is a GPU to measure on.

    `not_built`: precisions that could not be built, with the reason.
    """

    device: Device
    engines: tuple[Built, ...]
    choice: Choice | None
    not_built: Mapping[str, str] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        engines = [
            {"name": b.key.name, "precision": b.key.precision, "bytes": b.bytes, "file": f"{FOLDER}/{b.key.file}"}
            for b in self.engines
        ]
        known = {"engines": engines, "not_built": dict(self.not_built), "engines_run_here": self.choice is not None}
        return known | ({"gpu": self.choice.plain()} if self.choice else {})

    def text(self) -> str:
        """For people."""
        lines = [f"{b.key.name:<24}{b.key.precision:<6}{b.bytes:>10} bytes" for b in self.engines]
        lines += [f"{ENCODER:<24}{precision:<6} not built: {why}" for precision, why in self.not_built.items()]
        if self.choice is None:
            why = f"; {said}" if (said := why_no_gpu()) else ""
            return "\n".join([*lines, f"built for {self.device}: these engines have not been run here{why}"])
        return "\n".join([*lines, self.choice.table(), f"{self.choice.chosen}, because {self.choice.why}"])


def build_engines(bundle: Bundle, request: Request, evidence: Evidence | None = None) -> EngineReport:
    """Build what does not fit this device, keep what does, measure where there is a GPU. Raises what a user can mend."""
    backend = BACKENDS[request.target](f"compile for {request.target}")
    engines, not_built = _built_engines(bundle, _precisions(bundle, request.precision), request.options, backend)
    choice = None
    if backend.gpu is not None:
        findings = _measure(bundle, engines, backend, evidence, paced=request.precision == "auto")
        choice = fastest(findings, request.precision, request.limits)
    with _held(bundle):
        write_choice(bundle.path / FOLDER, backend.device, choice.chosen if choice else None)
    return EngineReport(backend.device, engines, choice, not_built)


def _built_engines(
    bundle: Bundle, precisions: Sequence[str], options: BuilderOptions, backend: Backend
) -> tuple[tuple[Built, ...], dict[str, str]]:
    """An engine of every precision that can be built, and why the others cannot. Raises DeviceError where none can."""
    build = _builder(backend, options)
    keys = {one: engine_key(bundle, ENCODER, one, options, backend.device) for one in precisions}
    made = {one: _engine_or_why(bundle, key, build) for one, key in keys.items()}
    engines = tuple(built for built in made.values() if isinstance(built, Built))
    failed = {one: why for one, why in made.items() if isinstance(why, str)}
    if not engines:
        raise DeviceError(next(iter(failed.values())))
    return engines, failed


def _engine_or_why(bundle: Bundle, key: EngineKey, build: Build) -> Built | str:
    try:
        return engine_for(bundle, key, build)
    except (BundleError, DeviceError) as error:
        return str(error)


def _builder(backend: Backend, options: BuilderOptions) -> Build:
    def build(graph: bytes, key: EngineKey) -> bytes:
        name = f"{key.name} ({key.precision})"
        if isinstance(backend, Rtx | OnnxTensorrt):
            return context_from_onnx(graph, key, backend)
        if isinstance(backend, OnnxCuda):
            backend.open(graph, name, key.max_batch)  # it starts
            return graph
        assert isinstance(backend, Tensorrt)
        return engine_from_onnx(graph, options, backend.module, name=name, cache=timing_cache_path(backend.device))

    return build


def engine_for(bundle: Bundle, key: EngineKey, build: Build | None) -> Built:
    """The engine of this key: the one that is there if it fits, else built from its graph; refused where `build` is None."""
    folder = bundle.path / FOLDER
    if build is None:
        return _fitting(folder, key)
    with _held(bundle):
        try:
            return _fitting(folder, key)
        except (BundleError, DeviceError):  # absent, foreign, stale or damaged
            graph = bundle.file(bundle.tensorrt_graphs[key.name][key.precision])
            return write_engine(folder, key, build(graph, key))


@contextmanager
def _held(bundle: Bundle) -> Iterator[None]:
    """Hold the bundle, whose graphs are those that were read. Raises InputError where another compile took its place."""
    with locked(bundle.path / FOLDER):
        now = parsed_manifest(manifest_bytes(bundle.path), bundle.path / MANIFEST)
        if _graph_hashes(now) != _graph_hashes(bundle.manifest):
            raise InputError(
                f"{bundle.path} was replaced by another student while its engines were built: compile it again"
            )
        yield


def _graph_hashes(manifest: Mapping[str, Any]) -> list[str]:
    """What tells one bundle's graphs from another's: their hashes, as the manifest lists them."""
    names = {file for files in manifest.get("tensorrt", {}).values() for file in files.values()}
    return [str(manifest["files"].get(name, {}).get("sha256")) for name in sorted(names)]


def _fitting(folder: Path, key: EngineKey) -> Built:
    """The engine of this key, its bytes checked. Raises DeviceError with the differences, BundleError if damaged."""
    alike = [b for b in read_engines(folder) if (b.key.name, b.key.precision) == (key.name, key.precision)]
    for built in alike:
        if built.key == key:
            read_engine(folder, built)
            return built
    found = "; ".join(differences(built.key, key) for built in alike) or "not built"
    raise DeviceError(
        f"the engine {key.name} ({key.precision}) in {folder} does not fit ({found}): "
        f"build it here with edge-lupi compile BUNDLE --target {key.device.target}"
    )


def _precisions(bundle: Bundle, precision: str) -> list[str]:
    """The precisions to build."""
    graphs = bundle.tensorrt_graphs.get(ENCODER)
    if not graphs:
        raise InputError(
            f"{bundle.path} has no graphs for TensorRT: compile the student for it first, without a build",
            options=("target", "no_build"),
        )
    if precision != "auto" and precision not in graphs:
        raise InputError(
            f"expected a precision that {bundle.path} has ({', '.join(graphs)}), got {precision}: choose one of these",
            options=("precision",),
        )
    return [one for one in graphs if precision in ("auto", one)]


def engine_key(bundle: Bundle, name: str, precision: str, options: BuilderOptions, device: Device) -> EngineKey:
    """What an engine of the bundle's graph depends on, built on this device with these options."""
    graph = bundle.manifest["files"][bundle.tensorrt_graphs[name][precision]]["sha256"]
    return EngineKey(name, precision, graph, options.max_batch, options.workspace_mib, device)


def _measure(
    bundle: Bundle, engines: Iterable[Built], backend: Backend, evidence: Evidence | None, *, paced: bool
) -> Findings:
    """Every precision's encoder and the CPU's own against the fp32 graph, on labelled speech or else the golden sound."""
    folder = bundle.path / FOLDER
    segments = _golden_segments(bundle) if evidence is None else evidence.segments
    truth = OnnxEngine(bundle.file(bundle.tensorrt_graphs[ENCODER]["fp32"]), name="encoder (fp32)")
    wanted = truth.run({"log_mel": segments})["embedding"]
    running: dict[str, Engine] = {
        b.key.precision: backend.open(read_engine(folder, b), f"encoder ({b.key.precision})", b.key.max_batch)
        for b in engines
    }
    running[CPU] = OnnxEngine(bundle.file("encoder.onnx"), name="encoder.onnx")
    sizes = {b.key.precision: b.bytes for b in engines} | {CPU: len(bundle.file("encoder.onnx"))}
    findings = measure(running, sizes, segments, wanted)
    if evidence is not None:
        findings = evidence.judge(findings, running, truth)
    return measure_live(running, findings, segments, wanted, paced=paced)


def _golden_segments(bundle: Bundle) -> NDArray[np.float32]:
    """The golden sound as log-mel segments [S, 80, 1, F]."""
    return CompiledStudent(bundle).segments(from_pcm(bundle.golden()["samples"]))
