"""calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from edge_lupi.terminal import note, say, say_done, say_json
from edge_lupi.verbs.options import BundleArgument, GalleryOption, JsonOption, among_corpora, examples, finite

if TYPE_CHECKING:
    from edge_lupi.bundle.bundle import Bundle
    from edge_lupi.task import Task


EXAMPLES = examples(
    ("edge-lupi calibrate --impostors strangers/", "1 % taken for somebody"),
    ("edge-lupi calibrate --impostors DIR --far 0.001", "0.1 %, and more misses"),
    ("edge-lupi calibrate", "what is calibrated"),
    ("edge-lupi calibrate --undo", "as it came"),
)


def calibrate(
    bundle: BundleArgument = None,
    trials: Annotated[
        Optional[Path],
        typer.Option(metavar="LIST", help="Verification trials: lines of `label path path`.", callback=among_corpora),
    ] = None,
    data: Annotated[
        Optional[Path],
        typer.Option(help="The folder that the paths of the trials begin in.", callback=among_corpora),
    ] = None,
    impostors: Annotated[
        Optional[Path],
        typer.Option(metavar="DIR", help="Recordings of people who are not enrolled: DIR/<person>/*.wav."),
    ] = None,
    far: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="How often a stranger may be taken for somebody known: 0.01 is once in a hundred times.",
            callback=finite,
        ),
    ] = 0.01,
    out: Annotated[Optional[Path], typer.Option(metavar="FOLDER", help="Calibrate a copy of the bundle there.")] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Ask for the bundle's own threshold again.")] = False,
    gallery: GalleryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set the threshold for a false accept rate, from your own recordings, and draw its DET curve.

    With --impostors strangers are held against everybody enrolled, as when listening; with --trials one voice against one.
    The threshold is kept, by the seconds of speech, in calibration.<task>.json, and listen uses it from then on.
    Without either, what is calibrated is shown.
    """
    from edge_lupi.bundle.bundle import Bundle, shipped_bundle
    from edge_lupi.data.trials import read_trials
    from edge_lupi.errors import InputError
    from edge_lupi.evaluate.calibrate import calibrate_with_impostors, calibrate_with_trials, keep
    from edge_lupi.evaluate.impostors import people_in
    from edge_lupi.runtime.speakers.gallery import Gallery, default_gallery_path

    student = Bundle.load(bundle or shipped_bundle("speaker"))
    if undo:
        return _undo(student)
    if trials is None and impostors is None:
        return _show(student, as_json)
    if trials is not None and impostors is None:
        found, curve = calibrate_with_trials(student, read_trials(trials, data), far)
    elif impostors is not None and trials is None:
        known = Gallery.load(gallery or default_gallery_path(), student.fingerprint)
        found, curve = calibrate_with_impostors(student, known, people_in(impostors), far)
    else:
        raise InputError("expected either --trials LIST or --impostors DIR, got both: give one of them")
    file = keep(found, curve, student, out)
    if as_json:
        say_json({**found.plain(), "path": str(file)})
    else:
        say_done(*found.text().split("\n"), f"kept in {file}, its DET curve beside it; --undo takes both away")
    if found.doubt:
        note(found.doubt)


def _show(student: Bundle, as_json: bool) -> None:
    """What is calibrated, and what to bring where nothing is."""
    from edge_lupi.bundle.calibration import load_calibration
    from edge_lupi.task import speaker_task

    task = speaker_task(student)
    found = load_calibration(student.path, student.fingerprint, task.name)
    if as_json:
        say_json({"task": task.name, "threshold": task.threshold, "calibration": found and found.plain()})
    elif found:
        say(*found.text().split("\n"))
    else:
        say(f"task {task.name}: nothing is calibrated, {_own_threshold(task)}")
        note(
            "to calibrate: --impostors DIR with recordings of people who are not enrolled (DIR/<person>/*.wav), or --trials LIST"
        )


def _undo(student: Bundle) -> None:
    from edge_lupi.bundle.calibration import undo_calibration
    from edge_lupi.task import speaker_task

    task = speaker_task(student)
    file = undo_calibration(student.path, task.name)
    was = f"{file} is removed" if file else "nothing was calibrated"
    say_done(f"task {task.name}: {was}, {_own_threshold(task)}")


def _own_threshold(task: Task) -> str:
    return f"the bundle's own threshold is {task.threshold:.3f}" if task.threshold else "the bundle has no threshold"
