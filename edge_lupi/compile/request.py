"""A device profile: what to ask of compile for one kind of device. TOML file -> Profile.

    device = "Jetson Orin Nano"
    expect = "engines are built there, by JetPack's own TensorRT"
    target = "tensorrt"
    max_batch = 4

What is typed on the command line stands above it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_lupi.compile.choice import Limits
from edge_lupi.compile.engines.tensorrt import BuilderOptions
from edge_lupi.compile.wanted import Wanted
from edge_lupi.errors import InputError
from edge_lupi.settings import make, read_toml

__all__ = ["Profile", "read_profile"]

MAX_BYTES = 1 << 16


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

    def wanted(self, build: bool = True, data: Path | None = None, trials: Path | None = None) -> Wanted:
        """What compile is asked for. Raises InputError for a value that it does not know."""
        options, limits = BuilderOptions(self.max_batch, self.workspace_mib), Limits(self.max_drop)
        return Wanted(self.target, self.precision, options, build, data, trials, limits)


def read_profile(path: Path | None, **typed: Any) -> Profile:
    """The profile of a file, or without one the defaults; what was `typed` and is not None stands above it."""
    known = {} if path is None else asdict(_read(path))
    return Profile(**{**known, **{name: value for name, value in typed.items() if value is not None}})


def _read(path: Path) -> Profile:
    content = read_toml(path, "a device profile", "take one of compile/", MAX_BYTES)
    profile = make(Profile, content, str(path), "")
    try:
        profile.wanted()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return profile
