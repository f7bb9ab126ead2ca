"""The files that a run is asked to write: paths by kind in, outputs out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_lupi.errors import InputError
from edge_lupi.runtime.outputs.event_file import EventFile
from edge_lupi.runtime.outputs.files import TurnFile, WrittenFile
from edge_lupi.runtime.outputs.place import check_place, is_one_file
from edge_lupi.runtime.outputs.rttm import RttmFile
from edge_lupi.runtime.outputs.subtitles import SrtFile, VttFile

__all__ = ["asked_files"]


def asked_files(
    inputs: Sequence[str],
    task: str,
    *,
    rttm: Path | None = None,
    srt: Path | None = None,
    vtt: Path | None = None,
    events: Path | None = None,
) -> list[WrittenFile]:
    """Those that have a path, for turns of the task.

    Raises InputError where one cannot be written, two are one file, or one is an input.
    """
    kinds: list[tuple[type[TurnFile], Path | None]] = [(RttmFile, rttm), (SrtFile, srt), (VttFile, vtt)]
    files: list[WrittenFile] = [kind(path, inputs, task) for kind, path in kinds if path is not None]
    if events is not None:
        files.append(EventFile(events))
    for file in files:
        check_place(file.path, file.endings, file.option, read=[name for name in inputs if name not in ("mic", "-")])
        if sum(is_one_file(file.path, other.path) for other in files) > 1:
            raise InputError(
                f"expected a file for each kind of output, got {file.path} twice: choose another name",
                options=(file.option,),
            )
    return files
