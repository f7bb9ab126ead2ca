"""What `edge-lupi compile` does for each target. student.pt or bundle in, bundle out, and what was found on the way.

The CPU's graphs are always made: they run where no engine fits. A bundle is compiled further without torch: that is how
a device builds engines from what a workstation sent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.compile.choice import Choice
from edge_lupi.compile.engines.build import EngineReport, build_engines
from edge_lupi.compile.evidence import read_evidence
from edge_lupi.compile.wanted import Wanted
from edge_lupi.disk import kind_of
from edge_lupi.errors import DeviceError, InputError, MissingExtra
from edge_lupi.runtime.engines.choose import BACKENDS
from edge_lupi.runtime.engines.cuda import find_gpu, why_no_gpu

__all__ = ["Done", "compile_for"]


@dataclass(frozen=True)
class Done:
    """A compiled bundle: the gate's choice on the CPU (None where it was made before), and the engines, if any.

    `no_gpu`: why a GPU that seems to be here was not built for.
    """

    bundle: Path
    target: str
    choice: Choice | None
    engines: EngineReport | None
    no_gpu: str = ""

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        known = self.choice.plain() if self.choice else dict(Bundle.load(self.bundle).manifest["precision"])
        engines = self.engines.plain() if self.engines else {"engines": []}
        why = {"no_gpu": self.no_gpu} if self.no_gpu else {}
        return {"bundle": str(self.bundle), "target": self.target, **known, **engines, **why}

    def text(self) -> str:
        """For people."""
        said = []
        if self.choice:
            said = [self.choice.table(), f"{self.bundle}: {self.choice.chosen}, because {self.choice.why}"]
            left = Bundle.load(self.bundle).manifest["precision"]["float_layers"]
            if self.choice.chosen == "int8":
                said.append(f"layers left in float: {', '.join(left) or 'none'}")
        said += [f"for the CPU alone: {self.no_gpu}"] * bool(self.no_gpu)
        return "\n".join([*said, *([self.engines.text()] if self.engines else [])])


def compile_for(source: Path, out: Path | None, wanted: Wanted) -> Done:
    """Compile `source`: a student.pt into the bundle `out` (beside it), or a bundle in its place. Raises what a user can mend."""
    target, no_gpu = _target_here() if wanted.target == "auto" else (wanted.target, "")
    wanted = replace(wanted, target=target)
    builds = wanted.target in BACKENDS and wanted.build
    if builds:
        BACKENDS[wanted.target](f"compile --target {wanted.target}")  # what is missing is said before any work
    if kind_of(source) == "folder":
        if not builds or out is not None:
            raise InputError(
                f"{source} is compiled already: give a STUDENT.PT, or --target tensorrt without --out to build its engines"
            )
        return Done(source, wanted.target, None, _engines(source, wanted))
    out = out or source.with_suffix(".lupi")
    from edge_lupi.compile.student import compile_student

    choice = compile_student(
        source,
        out,
        target=wanted.target,
        precision=wanted.precision,
        data=wanted.data,
        trials=wanted.trials,
        limits=wanted.limits,
    )
    engines = _engines(out, wanted) if builds else None
    return Done(out, wanted.target, choice, engines, no_gpu)


def _engines(path: Path, wanted: Wanted) -> EngineReport:
    evidence = read_evidence(Bundle.load(path), wanted.data, wanted.trials) if wanted.data and find_gpu() else None
    return build_engines(path, wanted.options, wanted.precision, wanted.target, evidence=evidence, limits=wanted.limits)


def _target_here() -> tuple[str, str]:
    """tensorrt or tensorrt-rtx where it is installed and has a GPU that it can use, else cpu; and why a GPU here cannot be used."""
    said = [why_no_gpu()]
    for target in BACKENDS if find_gpu() else ():
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
