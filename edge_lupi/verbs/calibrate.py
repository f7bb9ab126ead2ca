"""calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from edge_lupi.terminal import note, say_done, say_json
from edge_lupi.verbs.options import GalleryOption, JsonOption, among_corpora, finite


def calibrate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A .lupi folder.")],
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
        float, typer.Option(help="How often a stranger may be taken for somebody known.", callback=finite)
    ] = 0.01,
    out: Annotated[Optional[Path], typer.Option(metavar="FOLDER", help="Calibrate a copy of the bundle there.")] = None,
    gallery: GalleryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set the threshold of a bundle for a false accept rate, from your own recordings, and draw its DET curve.

    With --impostors strangers are held against everybody enrolled, as when listening; with --trials one voice against one.
    The bundle keeps the threshold, by the seconds of speech, in calibration.<task>.json; listen uses it from then on.
    """
    from edge_lupi.bundle.bundle import Bundle
    from edge_lupi.data.trials import read_trials
    from edge_lupi.errors import InputError
    from edge_lupi.evaluate.calibrate import calibrate_with_impostors, calibrate_with_trials, keep
    from edge_lupi.evaluate.impostors import people_in
    from edge_lupi.runtime.speakers.gallery import Gallery, default_gallery_path

    student = Bundle.load(bundle)
    if trials is not None and impostors is None:
        found, curve = calibrate_with_trials(student, read_trials(trials, data), far)
    elif impostors is not None and trials is None:
        known = Gallery.load(gallery or default_gallery_path(), student.fingerprint)
        found, curve = calibrate_with_impostors(student, known, people_in(impostors), far)
    else:
        raise InputError("expected either --trials LIST or --impostors DIR, got both or neither: give one of them")
    file = keep(found, curve, student, out)
    if as_json:
        say_json({**found.plain(), "path": str(file)})
    else:
        say_done(*found.text().split("\n"), f"kept in {file}, its DET curve beside it")
    if found.doubt:
        note(found.doubt)
