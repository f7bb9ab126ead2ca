"""Arguments and options that several verbs share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Optional

import typer

from edge_lupi.errors import InputError, MissingExtra


def among_corpora(path: Path | None) -> Path | None:
    """A path as it is; where nothing is there, one inside $EDGE_LUPI_DATA, as the paths of recipes are."""
    base = os.environ.get("EDGE_LUPI_DATA")
    inside = Path(base) / path if base and path is not None else path
    return path if path is None or path.exists() or inside is None or not inside.exists() else inside


BundleArgument = Annotated[
    Optional[Path],
    typer.Argument(metavar="BUNDLE", help="A .lupi folder; without it the one that comes with edge-lupi."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs: JSON.")]
TaskOption = Annotated[str, typer.Option(help="Which shipped bundle, where none is named: speaker or emotion.")]
DeviceOption = Annotated[Optional[str], typer.Option(help="Number or name of a microphone, see edge-lupi devices.")]
GalleryOption = Annotated[
    Optional[Path], typer.Option(help="File of known speakers.", show_default="~/.local/share/edge-lupi/speakers.json")
]


def need(verb: str, *modules: str) -> None:
    """Refuse a verb whose libraries are not installed."""
    from importlib.util import find_spec

    absent = [name for name in modules if find_spec(name) is None]
    if absent:
        raise MissingExtra(verb, " and ".join(absent), "train")


def numbers(text: str | None) -> tuple[int, ...] | None:
    """`0,1,2` -> (0, 1, 2)."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"expected whole numbers with commas between, as in 0,1,2, got {text!r}") from error
