"""evaluate."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from edge_lupi.errors import InputError
from edge_lupi.terminal import note, say, say_json
from edge_lupi.verbs.options import JsonOption, among_corpora, examples, finite, made_folder
from edge_lupi.words import printable

REPORT = "report.html"
MOST_REPORT_BYTES = 1 << 26  # ten recordings of three seconds, twice, are 2 MB

if TYPE_CHECKING:
    from edge_lupi.evaluate.answered import ClassAnswers, Exam, TrialAnswers
    from edge_lupi.evaluate.answers import Model

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
    report: Annotated[
        Optional[Path],
        typer.Option(
            metavar="DIR",
            help="Write report.html there: curves, maps, tables, and the worst ten to listen to, so it holds voices.",
        ),
    ] = None,
    beside: Annotated[
        Optional[list[Path]],
        typer.Option(
            metavar="MODEL", help="Another model for the report, as the teacher or the float student; may be repeated."
        ),
    ] = None,
) -> None:
    """Measure on labelled speech: EER and minDCF on trials, UAR and accuracy on classes, with intervals."""
    from edge_lupi.bundle.bundle import shipped_bundle
    from edge_lupi.disk import kind_of
    from edge_lupi.evaluate.answered import answered, exam_for
    from edge_lupi.evaluate.open import open_model

    if data is None and model and kind_of(model) == "folder" and kind_of(model / "manifest.json") == "nothing":
        raise InputError(
            f"expected a model, got the folder {printable(str(model))}: --data {shlex.quote(str(model))} measures on it"
        )
    if data is None:
        raise InputError(
            "expected labelled speech to measure on, got none: name it with --data CORPUS (a folder root/<label>/*.wav, a CSV audio,label, or a corpus that edge-lupi knows)"
        )
    if beside and report is None:
        raise InputError("expected --report DIR with --beside, got none: the report is what shows them")
    model = model or shipped_bundle(task or "speaker")
    opened = open_model(model, task)
    others = [open_model(path, opened.task.name) for path in beside or ()]
    exam = exam_for(opened, data, trials, split=split, everyone=everyone, pattern=pattern or "")
    folder = _folder_of_reports(report) if report else None
    found = answered(opened, exam, snr_db)
    if as_json:
        say_json(found.report.plain())
    else:
        say(*found.report.text().split("\n"))
    if folder is not None:  # the figures are told by then, whatever becomes of it
        _write_report(folder, [model, *(beside or ())], [opened, *others], found, exam, data, snr_db)


def _folder_of_reports(folder: Path) -> Path:
    """Made where it is not there. Raises InputError where somebody else's report.html is in it."""
    from edge_lupi.disk import kind_of, read_bounded
    from edge_lupi.evaluate.html_report.html import POLICY

    file = made_folder(folder, "--report") / REPORT
    if kind_of(file) != "nothing" and POLICY.encode() not in read_bounded(file, MOST_REPORT_BYTES, "a report"):
        raise InputError(f"{file} exists and is no report of edge-lupi, so it is left alone: choose another --report")
    return folder


def _write_report(
    folder: Path,
    paths: Sequence[Path],
    models: Sequence[Model],
    found: ClassAnswers | TrialAnswers,
    exam: Exam,
    data: Path,
    snr_db: float | None,
) -> None:
    """At once or not at all; the models but the first are asked here."""
    from edge_lupi.device.processor import environment
    from edge_lupi.disk import write_at_once, writing
    from edge_lupi.evaluate.answered import answered
    from edge_lupi.evaluate.html_report.report_page import Circumstances, Subject, report_page

    said = [found, *(answered(model, exam, snr_db) for model in models[1:])]
    names = shortest_names(paths)
    subjects = [Subject(*one) for one in zip(names, models, said, strict=True)]
    doubts = [] if snr_db is None else [f"White noise at {snr_db:g} dB was added."]
    date = datetime.now().astimezone().isoformat(" ", "seconds")
    command = shlex.join(["edge-lupi", *sys.argv[1:]])
    text = report_page(subjects, exam, Circumstances(command, date, environment(), data, tuple(doubts)))
    file = folder / REPORT
    with writing(file, "free some space or choose another --report"):
        write_at_once(file, text.encode(), mode=0o600)  # voices are in it
    note(f"{file}: open it in a browser")


def shortest_names(paths: Sequence[Path]) -> list[str]:
    """A name for each path: the last part, or as many parts as tell them apart."""
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        names = [str(Path(*path.parts[-parts:])) for path in paths]
        if len(set(names)) == len(names):
            return names
    raise InputError(f"expected different models, got {paths[0]} twice: name each once")
