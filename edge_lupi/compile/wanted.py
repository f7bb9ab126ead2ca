"""What was asked of `edge-lupi compile`, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edge_lupi.compile.choice import Limits
from edge_lupi.compile.engines.tensorrt import BuilderOptions
from edge_lupi.errors import InputError

__all__ = ["TARGETS", "Wanted"]

TARGETS = ("auto", "cpu", "tensorrt", "tensorrt-rtx")
CPU_PRECISIONS = ("auto", "fp32", "int8")
GPU_PRECISIONS = ("auto", "fp32", "fp16", "int8")


@dataclass(frozen=True)
class Wanted:
    """Target, precision, the gate's limits and the labelled speech it judges by, and for engines the builder's options.

    Without `build` only the graphs that engines are built from are made.
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
            raise InputError(f"expected --target {', '.join(TARGETS)}, got {self.target!r}")
        known = GPU_PRECISIONS if self.for_gpu else CPU_PRECISIONS
        if self.precision not in known:
            raise InputError(f"expected --precision {', '.join(known)}, got {self.precision!r}")
        if self.trials is not None and self.data is None:
            raise InputError("expected --data with the folder that the paths of --trials begin in, got none")

    @property
    def for_gpu(self) -> bool:
        """Whether the bundle gets the graphs that TensorRT builds from."""
        return self.target.startswith("tensorrt")
