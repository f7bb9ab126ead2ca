"""Compilation by target: student.pt or bundle in; bundle out, with the choice of precision and the engines.

The CPU's graphs are always made: they run where no engine fits. A bundle is compiled further without torch: that is how
a device builds engines from what a workstation sent, and how a bundle becomes a model repository for Triton.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.compile.choice import Choice
from edge_lupi.compile.engines.build import EngineReport, build_engines
from edge_lupi.compile.evidence import evidence_for_bundle
from edge_lupi.compile.request import Request
from edge_lupi.disk import kind_of
from edge_lupi.errors import DeviceError, InputError, MissingExtra
from edge_lupi.runtime.engines.choose import BACKENDS
from edge_lupi.runtime.engines.cuda import find_gpu, why_no_gpu

if TYPE_CHECKING:
    from edge_lupi.compile.triton.repository import Repository

__all__ = ["Done", "compile_for"]


@dataclass(frozen=True)
class Done:
    """A compiled bundle: the CPU's precision and why (None where it was chosen before), and the engines, if any.

    `no_gpu`: why a GPU that seems to be here was not built for. `repository`: what was made of it for Triton.
    """

    bundle: Bundle
    target: str
    choice: Choice | None
    engines: EngineReport | None
    no_gpu: str = ""
    repository: Repository | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        precision = self.choice.plain() if self.choice else dict(self.bundle.manifest["precision"])
        engines = self.engines.plain() if self.engines else {"engines": []}
        more = {"no_gpu": self.no_gpu} if self.no_gpu else {}
        if self.repository:
            more["repository"] = str(self.repository.path)
        return {"bundle": str(self.bundle.path), "target": self.target, **precision, **engines, **more}

    def text(self) -> str:
        """For people."""
        lines = []
        if self.choice:
            lines = [self.choice.table(), f"{self.bundle.path}: {self.choice.chosen}, because {self.choice.why}"]
            in_float = self.bundle.manifest["precision"]["float_layers"]
            if self.choice.chosen == "int8":
                lines.append(f"layers left in float: {', '.join(in_float) or 'none'}")
        lines += [f"for the CPU alone: {self.no_gpu}"] * bool(self.no_gpu)
        return "\n".join([*lines, *(made.text() for made in (self.engines, self.repository) if made)])


def compile_for(source: Path, out: Path | None, request: Request) -> Done:
    """Compile `source`: a student.pt into the bundle `out` (beside it), or a bundle in its place. Raises what a user can mend."""
    target, no_gpu = _target_here() if request.target == "auto" else (request.target, "")
    request = replace(request, target=target)
    builds = target in BACKENDS and request.build
    if builds:
        BACKENDS[target](f"compile for {target}")  # what is missing is said before any work
    if target == "triton":
        return _repository(source, out, request)
    if kind_of(source) == "folder":
        if not builds or out is not None:
            raise InputError(
                f"{source} is compiled already: give a STUDENT.PT, the target tensorrt and no other place to build its engines, or the target triton",
                options=("target", "out"),
            )
        bundle = Bundle.load(source)
        return Done(bundle, target, None, _engines(bundle, request))
    from edge_lupi.compile.student import compile_student

    made = compile_student(source, out or source.with_suffix(".lupi"), request)
    return Done(made.bundle, target, made.choice, _engines(made.bundle, request) if builds else None, no_gpu)


def _repository(source: Path, out: Path | None, request: Request) -> Done:
    """The Triton repository `out` (beside it) of a bundle, or of a student.pt whose bundle then lies beside that."""
    from edge_lupi.compile.triton.place import refuse_to_replace
    from edge_lupi.compile.triton.repository import write_repository

    bundle, done = (Bundle.load(source) if kind_of(source) == "folder" else None), None
    if bundle and (request.precision != "auto" or request.data):
        raise InputError(
            f"{source} is compiled already: give its STUDENT.PT to choose a precision or the data to judge by",
            options=("precision", "data"),
        )
    out = out or Path(os.path.abspath(source)).with_suffix(".triton")
    refuse_to_replace(out)  # before any work
    if bundle is None:
        done = compile_for(source, None, replace(request, target="cpu"))
        bundle = done.bundle
    repository = write_repository(bundle, out, request.options.max_batch, request.build)
    return Done(bundle, "triton", done.choice if done else None, None, repository=repository)


def _engines(bundle: Bundle, request: Request) -> EngineReport:
    evidence = evidence_for_bundle(bundle, request.data, request.trials) if request.data and find_gpu() else None
    return build_engines(bundle, request, evidence)


def _target_here() -> tuple[str, str]:
    """tensorrt or tensorrt-rtx where it is installed and has a GPU that it can use, else cpu; and why a GPU here cannot be used."""
    said = [why_no_gpu()]
    for target in ("tensorrt", "tensorrt-rtx") if find_gpu() else ():
        fault = _fault(target)
        if fault is None:
            return target, ""
        said.append(fault)
    return "cpu", next(filter(None, said), "")


def _fault(target: str) -> str | None:
    """Why this target cannot be built for here; empty where it is not installed, None where it can."""
    try:
        BACKENDS[target]("compile")
    except MissingExtra:
        return ""
    except DeviceError as error:
        return str(error)
    return None
