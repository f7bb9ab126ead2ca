"""Compile options, checked before any work: command line, perhaps a device profile (TOML) -> Request.

A profile says what to ask for on one kind of device:

    device = "Jetson Orin Nano"
    expect = "engines are built there, by JetPack's own TensorRT"
    target = "tensorrt"
    max_batch = 4

What is typed on the command line stands above it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edge_lupi.compile.choice import Limits
from edge_lupi.errors import InputError
from edge_lupi.settings import make, read_toml

__all__ = ["TARGETS", "BuilderOptions", "Profile", "Request", "read_profile"]

TARGETS = ("auto", "cpu", "tensorrt", "tensorrt-rtx", "onnxruntime-tensorrt", "onnxruntime-cuda", "triton")
CPU_PRECISIONS = ("auto", "fp32", "int8")
GPU_PRECISIONS = ("auto", "fp32", "fp16", "int8")
MAX_BYTES = 1 << 16


@dataclass(frozen=True)
class BuilderOptions:
    """Engine builder options: batches of 1 to `max_batch` segments, and the memory that a layer may use while it is built."""

    max_batch: int = 16
    workspace_mib: int = 256

    def __post_init__(self) -> None:
        for name, value, most in (("max_batch", self.max_batch, 1024), ("workspace_mib", self.workspace_mib, 1 << 20)):
            if not 1 <= value <= most:
                raise InputError(f"expected {name} from 1 to {most}, got {value}", options=(name,))


@dataclass(frozen=True)
class Request:
    """Target, precision, the limits of the choice and the labelled speech it is made on, and for engines the builder's options.

    Without `build` only the graphs that engines are built from are made. Raises InputError for a value that is not known.
    """

    target: str = "auto"
    precision: str = "auto"
    options: BuilderOptions = field(default_factory=BuilderOptions)
    build: bool = True
    data: Path | None = None
    trials: Path | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise InputError(f"expected a target of {', '.join(TARGETS)}, got {self.target!r}", options=("target",))
        precisions = GPU_PRECISIONS if self.for_gpu else CPU_PRECISIONS
        if self.precision not in precisions:
            raise InputError(
                f"expected a precision of {', '.join(precisions)}, got {self.precision!r}", options=("precision",)
            )
        if self.trials is not None and self.data is None:
            raise InputError(
                "expected data beside the trials, the folder that their paths begin in, got none: name it",
                options=("data",),
            )

    @property
    def for_gpu(self) -> bool:
        """Whether the bundle gets the graphs that engines are built from."""
        return self.target not in ("auto", "cpu", "triton")

    @property
    def cpu_precision(self) -> str:
        """The precision asked of the CPU, which computes nothing in fp16."""
        return "auto" if self.precision == "fp16" else self.precision


@dataclass(frozen=True)
class Profile:
    """`device` names it, `expect` says in a sentence what happens there; the rest are the options of compile."""

    device: str = ""
    expect: str = ""
    target: str = "auto"
    precision: str = "auto"
    max_batch: int = 16
    workspace_mib: int = 256
    max_drop: float = 0.005

    def request(self, build: bool = True, data: Path | None = None, trials: Path | None = None) -> Request:
        """The whole request. Raises InputError for a value that is not known."""
        options, limits = BuilderOptions(self.max_batch, self.workspace_mib), Limits(self.max_drop)
        return Request(self.target, self.precision, options, build, data, trials, limits)


def read_profile(path: Path | None, **typed: Any) -> Profile:
    """The profile of a file, or without one the defaults; what was `typed` and is not None stands above it."""
    options = {} if path is None else asdict(_read(path))
    return Profile(**{**options, **{name: value for name, value in typed.items() if value is not None}})


def _read(path: Path) -> Profile:
    content = read_toml(path, "a device profile", "take one of compile/", MAX_BYTES)
    profile = make(Profile, content, str(path), "")
    try:
        profile.request()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return profile
