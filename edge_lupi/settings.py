"""TOML settings: a file or plain content -> frozen dataclasses, every wrong key, type or number in one sentence."""

from __future__ import annotations

import difflib
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from edge_lupi.disk import read_bounded
from edge_lupi.errors import InputError
from edge_lupi.words import printable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["make", "read_toml", "shown", "within"]

T = TypeVar("T")
LARGEST_BYTES = 1 << 20  # of a recipe; a device profile is shorter still
LARGEST_WHOLE = 1 << 53  # beyond it a number is a slip
CALLED = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
LONGEST_SHOWN = 80  # of a value, in a message


def read_toml(
    path: str | Path,
    what: str = "a recipe",
    hint: str = "see the folder train/ for examples",
    most: int = LARGEST_BYTES,
) -> dict[str, Any]:
    """The content of a TOML file of at most so many bytes. Raises InputError, in words that name `what` and end in the hint."""
    try:
        text = read_bounded(path, most, what)
    except InputError as error:
        raise InputError(f"{error}; {hint}") from error
    try:
        result: dict[str, Any] = tomllib.loads(text.decode())
        return result
    except (ValueError, RecursionError) as error:  # no TOML or UTF-8, numbers of 5,000 digits, brackets within brackets
        reason = printable(str(error))[:200]
        raise InputError(f"{printable(str(path))} is not TOML ({reason}): correct it there; {hint}") from error


def within(recipe: object, section: str, **bounds: tuple[float, float]) -> None:
    """Every number of a section is what some training could mean: nothing that only fails hours later, or fills the memory."""
    for key, (low, high) in bounds.items():
        value = getattr(recipe, key)
        if not all(low <= number <= high for number in (value if isinstance(value, tuple) else (value,))):
            raise InputError(f"expected {section}.{key} between {low} and {high}, got {value}")


def make(kind: type[T], content: Any, where: str, prefix: str) -> T:
    """A dataclass from plain content; every wrong key or value is an InputError that names `prefix`key and `where`."""
    if not isinstance(content, dict):
        raise InputError(f"expected a section [{prefix.rstrip('.')}] in {where}, got {shown(content)}")
    types = get_type_hints(kind)
    known = [item.name for item in fields(kind)]  # type: ignore[arg-type]
    for key in content:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known are {', '.join(known)}"
            raise InputError(f"{where} has an unknown key {prefix}{printable(str(key))[:LONGEST_SHOWN]}: {hint}")
    values = {key: _value(types[key], value, where, f"{prefix}{key}") for key, value in content.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise InputError(f"{where} lacks a key that is needed: {prefix}{str(error).split(':')[-1].strip()}") from error
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _value(kind: Any, value: Any, where: str, key: str) -> Any:
    if is_dataclass(kind):
        return make(kind, value, where, f"{key}.")  # type: ignore[arg-type]
    if isinstance(kind, UnionType):
        return _value(_fitting(kind, value), value, where, key)
    if get_origin(kind) is dict and isinstance(value, dict):
        return {name: _value(get_args(kind)[1], item, where, f"{key}.{name}") for name, item in value.items()}
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_value(get_args(kind)[0], item, where, key) for item in value)
    if isinstance(value, (int, float)) and not abs(value) <= LARGEST_WHOLE:
        raise InputError(f"expected a finite number of some size for {key} in {where}, got {shown(value)}")
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if get_origin(kind) in (tuple, dict) or not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InputError(f"expected {_called(kind)} as {key} in {where}, got {shown(value)}")
    return value


def _called(kind: Any) -> str:
    """A type in a message."""
    if get_origin(kind) is tuple:
        return f"a list, each of it {_called(get_args(kind)[0])},"
    return CALLED.get(kind, str(kind.__name__))


def shown(value: Any) -> str:
    """A value in a message: in one line, and not all of a long one."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python writes no number of 5,000 digits
        text = f"one that is too long to tell ({type(value).__name__})"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _fitting(kind: UnionType, value: Any) -> Any:
    """Of several types the one that the TOML value looks like; the first, where none does."""
    looks = {list: tuple, int: float}.get(type(value), type(value))
    return next((choice for choice in get_args(kind) if (get_origin(choice) or choice) is looks), get_args(kind)[0])
