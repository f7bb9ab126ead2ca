"""A device profile: what to ask of compile for one kind of device. TOML file -> Profile.

    device = "Jetson Orin Nano"
    expect = "engines are built there, by JetPack's own TensorRT"
    target = "tensorrt"
    max_batch = 4

What is typed on the command line stands above it.
"""

from __future__ import annotations

import difflib
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from edge_lupi.compile.choice import Limits
from edge_lupi.compile.engines.tensorrt import BuilderOptions
from edge_lupi.compile.wanted import Wanted
from edge_lupi.disk import read_bounded
from edge_lupi.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Profile", "read_profile"]

MAX_BYTES = 1 << 16
KINDS = {"str": str, "int": int, "float": (int, float)}
WORDS = {"str": "text", "int": "a whole number", "float": "a number"}


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
    try:
        text = read_bounded(path, MAX_BYTES, "a device profile")
    except InputError as error:
        raise InputError(f"{error}, or take one of compile/") from error
    try:
        content = tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0][:120]
        raise InputError(f"{path} is not TOML ({reason}): write it like those in compile/") from error
    known = {field.name: str(field.type) for field in fields(Profile)}
    for key, value in content.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise InputError(f"{path} has an unknown key {key:.40}: {hint}")
        if not isinstance(value, KINDS[known[key]]) or isinstance(value, bool):  # type: ignore[arg-type]
            raise InputError(f"expected {WORDS[known[key]]} as {key} in {path}, got {value!s:.40}")
    profile = Profile(**content)
    try:
        profile.wanted()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return profile
