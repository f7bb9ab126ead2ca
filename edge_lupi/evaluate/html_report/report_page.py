"""Report of a measurement as one HTML file: models with their answers to one exam in, the page's text out.

    text = report_page([Subject("student.int8.lupi", model, answers), Subject("student.pt", ...)], exam, circumstances)

The first model is what the report is of; the others stand beside it in the table of figures, the curves and the maps.
The page holds the sound of the worst items, so it holds voices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from edge_lupi.evaluate.answered import ClassAnswers, Exam, TrialAnswers
from edge_lupi.evaluate.answers import Model
from edge_lupi.evaluate.html_report.charts import OTHER, cosines_svg, map_svg, mark, reliability_svg
from edge_lupi.evaluate.html_report.html import Cell, Row, figure, legend, page, percent, section, table, words
from edge_lupi.evaluate.html_report.plane import plane, turned_towards
from edge_lupi.evaluate.html_report.style import COLOURS
from edge_lupi.evaluate.html_report.tables import (
    class_table,
    confusion_table,
    hardest_speakers,
    speaker_table,
    trial_speaker_table,
)
from edge_lupi.evaluate.html_report.worst_tables import shown_path, worst_trial_table, worst_utterance_table
from edge_lupi.evaluate.unheard import heard_voices
from edge_lupi.metrics.confidence import reliability
from edge_lupi.metrics.det_svg import det_svg
from edge_lupi.metrics.verification import Det, det, eer
from edge_lupi.words import printable

__all__ = ["Circumstances", "Subject", "report_page"]


@dataclass(frozen=True, eq=False)
class Subject:
    """A model that was measured: what it is called here, and what it answered."""

    name: str
    model: Model
    answers: ClassAnswers | TrialAnswers


@dataclass(frozen=True)
class Circumstances:
    """When, where and by which command; `data` is the folder that the exam's files lie in."""

    command: str
    date: str
    machine: Mapping[str, object]
    data: Path
    doubts: tuple[str, ...] = ()  # sentences that every figure here should be read with


def report_page(subjects: Sequence[Subject], exam: Exam, around: Circumstances) -> str:
    """All of the page."""
    first = subjects[0]
    if isinstance(first.answers, TrialAnswers):
        parts = _of_trials(subjects, exam, around)
    else:
        parts = _of_classes(subjects, around)
    doubts = [*around.doubts, *_doubts(subjects, exam)]
    lead = _big_figures(first) + "".join(f'<p class="warn">{words(doubt)}</p>' for doubt in doubts)
    beside = [section("Models side by side", _comparison(subjects))] if len(subjects) > 1 else []
    origin = section("Where these figures come from", _provenance(subjects, exam, around))
    title = f"{first.name}: {first.model.task.name} on {exam.corpus}"
    return page(title, lead, [*beside, *parts, origin])


def _of_classes(subjects: Sequence[Subject], around: Circumstances) -> list[str]:
    answers = cast(ClassAnswers, subjects[0].answers)
    labels = answers.report.labels
    titles = [f"{shown_path(u.audio, around.data)}: {u.label}" for u in answers.utterances]
    maps = _maps(subjects, answers.truth.tolist(), titles)
    marks = legend([(mark(number), words(label)) for number, label in enumerate(labels)])
    bins = reliability(answers.probabilities, answers.truth)
    sure = figure(
        reliability_svg(bins),
        f"On the dashed line a probability is what it says. ECE {100 * answers.report.ece:.1f} %; grey bars: how many utterances lie there.",
    )
    return [
        section("Which is taken for which", confusion_table(answers)),
        section("Is it right as often as it says?", sure),
        section("Map of the embeddings", _on_maps(len(subjects)), marks, maps),
        section("Class by class", class_table(answers)),
        section("Speaker by speaker", speaker_table(answers)),
        section("The worst ten", worst_utterance_table(answers, around.data)),
    ]


def _of_trials(subjects: Sequence[Subject], exam: Exam, around: Circumstances) -> list[str]:
    answers, by_file = cast(TrialAnswers, subjects[0].answers), exam.speakers
    threshold = _threshold(subjects[0])
    speakers = [by_file[file] for file in answers.files]
    hard = hardest_speakers(answers, speakers, threshold)[:COLOURS]
    groups = [hard.index(name) if name in hard else OTHER for name in speakers]
    titles = [f"{shown_path(file, around.data)}: {name}" for file, name in zip(answers.files, speakers, strict=True)]
    curves = [
        (printable(one.name), det(said.scores, said.targets))
        for one in subjects
        for said in [cast(TrialAnswers, one.answers)]
    ]
    others = [(mark(OTHER), "all others")] if OTHER in groups else []
    marks = legend([*((mark(n), words(name)) for n, name in enumerate(hard)), *others])
    own = subjects[0].model.task.threshold is not None
    pictures = (
        figure(_det(curves), "Detection error trade-off: every threshold is a point; the nearer to the lower left corner, the better.")
        + figure(
            cosines_svg(answers.scores, answers.targets, threshold),
            f"Cosines of two recordings of <b>one voice</b> (blue) and of two (orange); dashed: {'the threshold of the model' if own else 'the equal error rate’s threshold'}.",
        )
    )  # fmt: skip
    return [
        section("How well are voices told apart?", f'<div class="pictures">{pictures}</div>'),
        section("Map of the embeddings", _on_maps(len(subjects)), marks, _maps(subjects, groups, titles)),
        section("Speaker by speaker", trial_speaker_table(answers, speakers, threshold)),
        section("The worst ten", worst_trial_table(answers, speakers, threshold, around.data)),
    ]


def _threshold(subject: Subject) -> float:
    """The model's own, or that of its equal error rate."""
    answers, own = cast(TrialAnswers, subject.answers), subject.model.task.threshold
    return eer(answers.scores, answers.targets).threshold if own is None else own


def _det(curves: Sequence[tuple[str, Det]]) -> str:
    svg = det_svg("", curves).replace("<svg ", '<svg role="img" aria-label="Detection error trade-off curve" ', 1)
    return svg.replace(' xmlns="http://www.w3.org/2000/svg"', "")


def _maps(subjects: Sequence[Subject], groups: Sequence[int], titles: Sequence[str]) -> str:
    planes = [plane(one.answers.embeddings) for one in subjects]
    planes = [planes[0], *(turned_towards(other, planes[0]) for other in planes[1:])]
    figures = [
        figure(map_svg(flat, groups, titles, one.name), f"<b>{words(one.name)}</b>: {flat.share:.0%} of the variance")
        for one, flat in zip(subjects, planes, strict=True)
    ]
    return f'<div class="pictures">{"".join(figures)}</div>'


def _on_maps(count: int) -> str:
    turned = " The maps are turned towards the first one." if count > 1 else ""
    return f"<p class=soft>The first two principal components of unit vectors; no label went into them.{turned} Most of what the embeddings say lies in other directions.</p>"


def _big_figures(subject: Subject) -> str:
    if isinstance(subject.answers, TrialAnswers):
        trials = subject.answers.report
        figures = [
            ("equal error rate", percent(trials.eer)),
            ("minDCF (0.01)", f"{trials.min_dcf:.3f}"),
            ("trials", f"{trials.trials} <small>{trials.targets} of one voice</small>"),
        ]
    else:
        classes = subject.answers.report
        figures = [
            ("unweighted average recall", percent(classes.uar)),
            ("accuracy", f"{100 * classes.accuracy:.1f} %"),
            ("expected calibration error", f"{100 * classes.ece:.1f} %"),
            ("utterances", str(int(classes.confusion.sum()))),
        ]
    return f'<ul class="big">{"".join(f"<li><b>{value}</b>{name}</li>" for name, value in figures)}</ul>'


def _comparison(subjects: Sequence[Subject]) -> str:
    rows = list[Row]()
    for one in subjects:
        if isinstance(one.answers, TrialAnswers):
            trials = one.answers.report
            rows.append([Cell(words(one.name), is_head=True), percent(trials.eer), f"{trials.min_dcf:.3f}"])
        else:
            classes = one.answers.report
            rows.append([Cell(words(one.name), is_head=True), percent(classes.uar), f"{100 * classes.ece:.1f} %"])
    verifies = isinstance(subjects[0].answers, TrialAnswers)
    head = ["model", *(["equal error rate", "minDCF (0.01)"] if verifies else ["UAR", "ECE"])]
    return table("The same exam, 95 % bootstrap intervals", head, rows)


def _doubts(subjects: Sequence[Subject], exam: Exam) -> list[str]:
    """What of the exam a model knows from its training."""
    doubts = []
    for one in subjects:
        if one.model.origin.speaker_dependent:
            doubts.append(f"{one.name} is speaker dependent: its training has heard these voices.")
        elif known := heard_voices(exam.corpus, exam.utterances, one.model.origin):
            doubts.append(f"The training of {one.name} has heard {known} of these voices, so its figures are too good.")
    return doubts


def _provenance(subjects: Sequence[Subject], exam: Exam, around: Circumstances) -> str:
    left = f", {exam.left_out} left out that training has heard" if exam.left_out else ""
    items = f"{len(exam.trials)} trials" if exam.trials else f"{len(exam.utterances)} utterances"
    facts: list[tuple[str, object]] = [
        ("command", f"<code>{words(around.command)}</code>"),
        ("date", words(around.date)),
        ("machine", words("; ".join(f"{key} {value}" for key, value in around.machine.items()))),
        ("measured on", words(f"{exam.corpus} ({around.data}): {items}{left}")),
        ("its licence", words(exam.licence or "not said")),
    ]
    for one in subjects:
        origin = one.model.origin
        trained = f"{origin.corpus or 'nobody said on what'}; {origin.training_utterances or 'so many'} utterances, {len(origin.training_speakers or ())} voices with those that validated"
        facts.append(
            (words(one.name), words(f"trained on {trained}; edge-lupi {origin.edge_lupi or 'of unknown version'}"))
        )
        facts.append(("its licence", words(origin.licence or "not said")))
        if one.model.digest:
            facts.append(("its fingerprint", f"<code>{words(one.model.digest)}</code>"))
    return table(
        "Provenance", ["", ""], [[Cell(name, is_head=True), str(value)] for name, value in facts], "words provenance"
    )
