"""Tables of a report: per class, per speaker, the confusion matrix; the hardest first, shares with Wilson's intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from edge_lupi.evaluate.answered import ClassAnswers, TrialAnswers
from edge_lupi.evaluate.html_report.html import Cell, Row, percent, table, words
from edge_lupi.metrics.wilson import wilson

__all__ = ["class_table", "confusion_table", "hardest_speakers", "speaker_table", "trial_speaker_table"]

MOST_ROWS = 200
NOBODY = "nobody said"


def confusion_table(answers: ClassAnswers) -> str:
    """Rows the truth, columns what was said; the darker, the larger a share of its row."""
    labels, matrix = answers.report.labels, answers.report.confusion
    rows: list[Row] = [
        [
            Cell(words(label), is_head=True),
            *(
                Cell(str(count) if count else "", shade=count / max(1, int(matrix[row].sum())), is_right=row == column)
                for column, count in enumerate(matrix[row].tolist())
            ),
        ]
        for row, label in enumerate(labels)
    ]
    return table(
        "Confusion matrix: rows the truth, columns what was said", ["", *map(words, labels)], rows, "confusion"
    )


def class_table(answers: ClassAnswers) -> str:
    """Of each class how many are found, how many of those called so are it, and what it is taken for."""
    labels, matrix = answers.report.labels, answers.report.confusion
    rows = list[Row]()
    for number, label in enumerate(labels):
        own, called = int(matrix[number].sum()), int(matrix[:, number].sum())
        others = np.where(np.arange(len(labels)) == number, 0, matrix[number])
        taken = words(labels[int(others.argmax())]) if others.any() else ""
        rows.append(
            [
                Cell(words(label), is_head=True),
                str(own),
                percent(wilson(int(matrix[number, number]), own)) if own else "",
                percent(wilson(int(matrix[number, number]), called)) if called else "",
                taken,
            ]
        )
    head = ["class", "utterances", "recall", "precision", "most often taken for"]
    return table("Classes, with 95 % intervals", head, rows)


def speaker_table(answers: ClassAnswers) -> str:
    """Of each speaker how many utterances are right."""
    said, names = answers.probabilities.argmax(1), [u.speaker or NOBODY for u in answers.utterances]
    count, right = Counter(names), Counter(n for n, ok in zip(names, said == answers.truth, strict=True) if ok)
    order = sorted(count, key=lambda name: (right[name] / count[name], name))
    rows: list[Row] = [
        [Cell(words(name), is_head=True), str(count[name]), percent(wilson(right[name], count[name]))]
        for name in order[:MOST_ROWS]
    ]
    return table(_caption("Speakers", len(order)), ["speaker", "utterances", "right"], rows)


def trial_speaker_table(answers: TrialAnswers, speakers: Sequence[str], threshold: float) -> str:
    """Of each speaker how often they are missed at a threshold, and how often taken for another, or another for them."""
    accepted = answers.scores >= threshold
    trials: dict[str, list[int]] = {name: [0, 0, 0, 0] for name in speakers}  # own, missed, others, accepted
    columns = (answers.enrolled.tolist(), answers.tested.tolist(), answers.targets.tolist(), accepted.tolist())
    for enrolled, tested, is_target, is_accepted in zip(*columns, strict=True):
        for name in {speakers[enrolled], speakers[tested]}:
            row = trials[name]
            row[0 if is_target else 2] += 1
            row[1 if is_target else 3] += is_accepted != is_target
    order = hardest_speakers(answers, speakers, threshold)
    rows: list[Row] = [
        [
            Cell(words(name), is_head=True),
            str(own),
            percent(wilson(missed, own)) if own else "",
            str(others),
            percent(wilson(taken, others)) if others else "",
        ]
        for name, (own, missed, others, taken) in ((name, trials[name]) for name in order[:MOST_ROWS])
    ]
    head = ["speaker", "trials of one voice", "missed", "trials with others", "taken for one voice"]
    return table(_caption(f"Speakers, at a cosine of {threshold:.3f}", len(order)), head, rows)


def hardest_speakers(answers: TrialAnswers, speakers: Sequence[str], threshold: float) -> list[str]:
    """All speakers, those with the largest shares of wrong trials first."""
    wrong, count = Counter[str](), Counter[str]()
    is_wrong = (answers.scores >= threshold) != answers.targets
    for enrolled, tested, bad in zip(
        answers.enrolled.tolist(), answers.tested.tolist(), is_wrong.tolist(), strict=True
    ):
        for name in {speakers[enrolled], speakers[tested]}:
            count[name] += 1
            wrong[name] += bad
    return sorted(dict.fromkeys(speakers), key=lambda name: (-wrong[name] / max(1, count[name]), name))


def _caption(what: str, count: int) -> str:
    shown = f", the {MOST_ROWS} hardest of {count}" if count > MOST_ROWS else ", the hardest first"
    return f"{what}, with 95 % intervals{shown}"
