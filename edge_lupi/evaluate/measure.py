"""Measure a model on labelled speech: EER and minDCF of trials, or UAR and accuracy of utterances.

report(open_model(path), data, trials=None).text()
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_lupi.data.trials import Trial
from edge_lupi.data.utterance import Utterance
from edge_lupi.evaluate.answered import Numbers, Truth, answered, class_answers, exam_for, known_labels, trial_answers
from edge_lupi.evaluate.answers import Answerer, Model
from edge_lupi.evaluate.reports import ClassReport, TrialReport
from edge_lupi.vectors import Array

__all__ = ["evaluate_classes", "evaluate_trials", "known_labels", "report", "scored"]


def report(
    model: Model, data: Path, trials: Path | None, *, snr_db: float | None = None, **which: Any
) -> TrialReport | ClassReport:
    """The figures on an exam, of which `exam_for` says how it is chosen."""
    return answered(model, exam_for(model, data, trials, **which), snr_db).report


def evaluate_classes(
    answer: Answerer, utterances: Sequence[Utterance], labels: Sequence[str], task: str, **how: Any
) -> ClassReport:
    """Classify every utterance, as `class_answers` does. UAR is the mean recall over the classes."""
    return class_answers(answer, utterances, labels, task, **how).report


def evaluate_trials(answer: Answerer, trials: Sequence[Trial], task: str) -> TrialReport:
    """Score every trial by the cosine of two utterance embeddings."""
    return trial_answers(answer, trials, task).report


def scored(answer: Answerer, trials: Sequence[Trial]) -> tuple[Array, Truth, Numbers]:
    """Cosine, truth and the enrolled recording's number of every trial, [N] each."""
    found = trial_answers(answer, trials, "")
    return found.scores, found.targets, found.enrolled
