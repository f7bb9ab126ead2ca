"""evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from edge_lupi.terminal import say, say_json
from edge_lupi.verbs.options import JsonOption, among_corpora, examples, finite

EXAMPLES = examples(
    ("edge-lupi evaluate --data librispeech_excerpts", "the bundle that is there"),
    ("edge-lupi evaluate my.lupi --data recordings", "a folder a person"),
    ("edge-lupi evaluate my.lupi --data . --trials t.txt", "pairs of your own"),
    ("edge-lupi evaluate --task emotion --data my.csv", "from a CSV audio,label"),
)


def evaluate(
    model: Annotated[
        Optional[Path],
        typer.Argument(
            metavar="STUDENT.PT|TEACHER.PT|BUNDLE",
            help="What to measure.",
            show_default="the bundle that comes with edge-lupi for the task",
        ),
    ] = None,
    data: Annotated[
        Optional[Path],
        typer.Option(
            metavar="CORPUS",
            help="A folder root/<label>/*.wav, a CSV, or a corpus that edge-lupi knows; here or inside $EDGE_LUPI_DATA.",
            callback=among_corpora,
            show_default="none: it must be given",
        ),
    ] = None,
    trials: Annotated[
        Optional[Path],
        typer.Option(
            help="Verification trials: lines of `label path path`; without them all pairs, or a sample.",
            callback=among_corpora,
        ),
    ] = None,
    task: Annotated[
        Optional[str], typer.Option(help="The task.", show_default="the bundle's first; without a bundle speaker")
    ] = None,
    pattern: Annotated[
        Optional[str],
        typer.Option(
            help="How the files of a folder are called, e.g. {speaker}/{label}/*", show_default="as in training"
        ),
    ] = None,
    split: Annotated[Optional[str], typer.Option(help="Only this split of the corpus, e.g. fold0.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Also speakers that training has heard.")] = False,
    snr_db: Annotated[
        Optional[float],
        typer.Option(min=-100, max=100, help="Add white noise, the speech so many dB above it.", callback=finite),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure on labelled speech: EER and minDCF on trials, UAR and accuracy on classes, with intervals."""
    from edge_lupi.bundle.bundle import shipped_bundle
    from edge_lupi.errors import InputError
    from edge_lupi.evaluate.measure import report
    from edge_lupi.evaluate.open import open_model

    if data is None:
        raise InputError(
            "expected labelled speech to measure on, got none: name it with --data CORPUS (a folder root/<label>/*.wav, a CSV audio,label, or a corpus that edge-lupi knows)"
        )
    opened = open_model(model or shipped_bundle(task or "speaker"), task)
    found = report(opened, data, trials, split=split, everyone=everyone, snr_db=snr_db, pattern=pattern or "")
    if as_json:
        say_json(found.plain())
    else:
        say(*found.text().split("\n"))
