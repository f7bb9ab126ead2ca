"""Tables of the worst items of a report, each with its sound and the time to listen to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_lupi.evaluate.answered import ClassAnswers, TrialAnswers
from edge_lupi.evaluate.html_report.html import Cell, Row, table, words
from edge_lupi.evaluate.html_report.worst import Snippet, snippet, worst_trials, worst_utterances

__all__ = ["shown_path", "worst_trial_table", "worst_utterance_table"]


def worst_utterance_table(answers: ClassAnswers, data: Path) -> str:
    """Utterances that were called something else, and what of them to listen to."""
    labels, rows = answers.report.labels, list[Row]()
    for worst in worst_utterances(answers):
        utterance = answers.utterances[worst.place]
        heard = snippet(utterance.audio, utterance.start_seconds, utterance.end_seconds)
        rows.append(
            [
                Cell(f"{words(shown_path(utterance.audio, data))}{_player(heard)}", is_head=True),
                _times(heard),
                f"<b>{words(utterance.label)}</b> <small>{worst.of_truth:.1%}</small>",
                f"{words(labels[worst.said])} <small>{worst.probability:.1%}</small>",
                words(utterance.speaker or ""),
            ]
        )
    if not rows:
        return "<p>Nothing is wrong.</p>"
    head = ["recording", "listen to", "is", "was called", "speaker"]
    return table("Wrong, and the least probable truth first; the loudest three seconds", head, rows, "words")


def worst_trial_table(answers: TrialAnswers, speakers: Sequence[str], threshold: float, data: Path) -> str:
    """Trials on the wrong side of a threshold, and what of both recordings to listen to."""
    rows = list[Row]()
    for worst in worst_trials(answers, threshold):
        ends = (int(answers.enrolled[worst.place]), int(answers.tested[worst.place]))
        cells = []
        for end in ends:
            heard = snippet(answers.files[end])
            cells.append(
                f"{words(shown_path(answers.files[end], data))} <small>{words(speakers[end])}, {_times(heard)}</small>{_player(heard)}"
            )
        kind = "one voice, missed" if answers.targets[worst.place] else "two voices, taken for one"
        rows.append([Cell(kind, is_head=True), f"{worst.cosine:.3f}", *cells])
    if not rows:
        return f"<p>No trial lies on the wrong side of a cosine of {threshold:.3f}.</p>"
    caption = (
        f"The farthest on the wrong side of a cosine of {threshold:.3f}; the loudest three seconds of each recording"
    )
    return table(caption, ["trial", "cosine", "recording", "and"], rows, "words")


def _player(heard: Snippet) -> str:
    return f'<audio controls preload="metadata" src="{heard.sound}"></audio>' if heard.sound else ""


def _times(heard: Snippet) -> str:
    return f"{heard.start_seconds:.1f} to {heard.end_seconds:.1f} s"


def shown_path(path: Path, data: Path) -> str:
    """A file by its place in the corpus."""
    try:
        return str(path.resolve().relative_to(data.resolve() if data.is_dir() else data.resolve().parent))
    except ValueError:
        return path.name
