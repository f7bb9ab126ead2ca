"""evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from edge_lupi.terminal import say, say_json
from edge_lupi.verbs.options import JsonOption, among_corpora, finite


def evaluate(
    model: Annotated[Path, typer.Argument(metavar="STUDENT.PT|TEACHER.PT|BUNDLE", help="What to measure.")],
    data: Annotated[
        Path,
        typer.Option(
            help="A corpus: folder root/<label>/*.wav, CSV, or one that edge-lupi knows; here or inside $EDGE_LUPI_DATA.",
            callback=among_corpora,
        ),
    ],
    trials: Annotated[
        Optional[Path],
        typer.Option(
            help="Verification trials: lines of `label path path`; without them all pairs, or a sample.",
            callback=among_corpora,
        ),
    ] = None,
    task: Annotated[Optional[str], typer.Option(help="The task, where the bundle has several.")] = None,
    pattern: Annotated[
        Optional[str],
        typer.Option(
            help="How the files of a folder are called, e.g. {speaker}/{label}/*", show_default="as in training"
        ),
    ] = None,
    split: Annotated[Optional[str], typer.Option(help="Only this split of the corpus, e.g. fold0.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Also speakers that training has heard.")] = False,
    snr_db: Annotated[
        Optional[float], typer.Option(min=-100, max=100, help="Add white noise at this ratio.", callback=finite)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure on labelled speech: EER and minDCF on trials, UAR and accuracy on classes, with intervals."""
    from edge_lupi.evaluate.measure import report
    from edge_lupi.evaluate.open import open_model

    opened = open_model(model, task)
    found = report(opened, data, trials, split=split, everyone=everyone, snr_db=snr_db, pattern=pattern or "")
    if as_json:
        say_json(found.plain())
    else:
        say(*found.text().split("\n"))
