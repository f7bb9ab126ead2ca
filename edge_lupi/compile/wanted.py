"""What was asked of `edge-lupi compile`, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge_lupi.compile.tensorrt import BuilderOptions
from edge_lupi.errors import InputError

__all__ = ["TARGETS", "Wanted"]

TARGETS = ("auto", "cpu", "tensorrt", "tensorrt-rtx")
CPU_PRECISIONS = ("auto", "fp32", "int8")
GPU_PRECISIONS = ("auto", "fp32", "fp16", "int8")


@dataclass(frozen=True)
class Wanted:
    """Target, precision, and for engines the builder's options; without `build` only the graphs they are built from."""

    target: str = "auto"
    precision: str = "auto"
    options: BuilderOptions = field(default_factory=BuilderOptions)
    build: bool = True

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise InputError(f"expected --target {', '.join(TARGETS)}, got {self.target!r}")
        known = GPU_PRECISIONS if self.for_gpu else CPU_PRECISIONS
        if self.precision not in known:
            raise InputError(f"expected --precision {', '.join(known)}, got {self.precision!r}")

    @property
    def for_gpu(self) -> bool:
        """Whether the bundle gets the graphs that TensorRT builds from."""
        return self.target.startswith("tensorrt")
