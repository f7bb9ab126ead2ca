"""Arguments and options that several verbs share."""

from __future__ import annotations

import os
import shlex
from math import isfinite
from pathlib import Path
from typing import Annotated, Optional

import typer

from edge_lupi.errors import InputError, MissingExtra


def examples(*pairs: tuple[str, str]) -> str:
    """(what to type, what it does) as the end of a verb's help, whose lines are not joined."""
    width = max(len(typed) for typed, _ in pairs)
    return "\b\nExamples:\n" + "\n".join(f"  {typed:<{width}}  {does}".rstrip() for typed, does in pairs)


def among_corpora(path: Path | None) -> Path | None:
    """A path as it is; where nothing is there, one inside $EDGE_LUPI_DATA, as the paths of recipes are."""
    if path is None:
        return path
    from edge_lupi.data.place import found_data

    return found_data(path)


def finite(value: Optional[float], option: typer.CallbackParam) -> Optional[float]:
    """A number as it is. NaN is within every `min` and `max`, and infinity within one alone, so these are refused here."""
    if value is not None and not isfinite(value):
        raise InputError(f"expected a finite number for --{(option.name or '').replace('_', '-')}, got {value}")
    return value


def taken(number: Optional[int]) -> Optional[int]:
    """The GPU that this process is to use."""
    if number is not None:
        from edge_lupi.runtime.engines.cuda import choose_gpu

        choose_gpu(number)
    return number


def no_sound(paths: Path | list[Path] | None) -> Path | list[Path] | None:
    """Bundles as they are; a sound file in their place is what newcomers type, and it has an option of its own."""
    if not paths:
        return paths
    from edge_lupi.data.readers.folder import SUFFIXES
    from edge_lupi.sound.audio import CONTAINERS
    from edge_lupi.words import printable

    for path in paths if isinstance(paths, list) else [paths]:
        if path.suffix.lower() in SUFFIXES | CONTAINERS:
            raise InputError(
                f"expected a bundle (a .lupi folder) or none, got the sound file {printable(str(path))}: --input {shlex.quote(str(path))} hears it"
            )
    return paths


BundleArgument = Annotated[
    Optional[Path],
    typer.Argument(metavar="BUNDLE", help="A .lupi folder.", show_default="the one that comes with edge-lupi"),
]
BundleToHearArgument = Annotated[
    Optional[Path],
    typer.Argument(
        metavar="BUNDLE",
        help="A .lupi folder.",
        show_default="the one that comes with edge-lupi for this",
        callback=no_sound,
    ),
]
BundlesArgument = Annotated[
    Optional[list[Path]],
    typer.Argument(
        metavar="BUNDLE...",
        help="A .lupi folder, or several.",
        show_default="those that come with edge-lupi for the tasks",
        callback=no_sound,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs: one line of JSON on standard output.")]
TaskOption = Annotated[str, typer.Option(help="Which shipped bundle, where none is named: speaker or emotion.")]
TasksOption = Annotated[
    Optional[list[str]],
    typer.Option(
        metavar="speaker|emotion",
        help="What to tell; both at once with a comma, or repeated: of one bundle that knows both, or of two.",
        show_default="speaker; of bundles that are named each one's first",
    ),
]
DeviceOption = Annotated[
    Optional[str],
    typer.Option(
        metavar="NUMBER|NAME", help="Which microphone, see edge-lupi devices.", show_default="the system's default"
    ),
]
GpuOption = Annotated[
    Optional[int],
    typer.Option(min=0, help="Which GPU, as nvidia-smi numbers them.", show_default="the first", callback=taken),
]
GalleryOption = Annotated[
    Optional[Path],
    typer.Option(metavar="FILE", help="Known speakers.", show_default="~/.local/share/edge-lupi/speakers.json"),
]


def need(verb: str, *modules: str, extra: str = "train") -> None:
    """Refuse a verb whose libraries are not installed."""
    from importlib.util import find_spec

    absent = [name for name in modules if find_spec(name) is None]
    if absent:
        raise MissingExtra(verb, " and ".join(absent), extra)


def made_folder(folder: Path, option: str) -> Path:
    """A folder that can be written to, made where it is not there: said before the work, not after it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot make the folder {folder} ({reason}): choose another {option}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"cannot write to {folder} (permission denied): choose another {option}")
    return folder


def words(texts: list[str] | None) -> list[str]:
    """`a,b` and `c` -> [a, b, c]. Raises InputError at an empty one, as of `a, b`, which the shell parts at the blank."""
    for text in texts or ():
        if not all(word.strip() for word in text.split(",")):
            raise InputError(f"expected words with commas and no blanks between, as in a,b, got {text[:80]!r}")
    return [word.strip() for text in texts or () for word in text.split(",")]


def numbers(text: str | None) -> tuple[int, ...] | None:
    """`0,1,2` -> (0, 1, 2)."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"expected whole numbers with commas between, as in 0,1,2, got {text[:80]!r}") from error
