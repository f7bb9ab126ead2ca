"""Temperature scaling: probabilities that mean what they say, by validation speakers whom training has not heard.

One number divides all scores, so no answer changes, only how sure it is: that of the least negative log-likelihood of the
true labels (Guo et al. 2017, "On calibration of modern neural networks", arXiv 1706.04599). Of people in other rooms and
languages a student knows less than it seems to: where the recipe names corpora that training does not hear (`data.strange`),
each counts as much as the validation speakers. By such a corpus alone nothing would ever be told at home.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_lupi.data.utterance import Utterance
from edge_lupi.evaluate.answers import answers
from edge_lupi.evaluate.trained import student_answerer
from edge_lupi.metrics.confidence import calibration_error, negative_log_likelihood, probabilities_of
from edge_lupi.models.files import TrainedStudent
from edge_lupi.train.examples.prepared import Prepared
from edge_lupi.train.recipe import Recipe

__all__ = ["fit_temperature", "with_temperature"]

log = logging.getLogger(__name__)

COLDEST, HOTTEST = 0.05, 20.0
HALVINGS = 50


def fit_temperature(
    scores: NDArray[np.float32], labels: NDArray[np.int64], weights: NDArray[np.float64] | None = None
) -> float:
    """The temperature of the least negative log-likelihood, for scores [N, C] with truth [N], perhaps weighted [N].

    In 1 / temperature that is convex, so the place where its slope, the mean over utterances of the expected score less
    the true label's, changes sign is found by halving. Where all answers are right, or worse than chance, there is no
    such place, and it is the coldest or hottest that is allowed.
    """
    values, rows = scores.astype(np.float64), np.arange(len(labels))
    low, high = np.log(COLDEST), np.log(HOTTEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        expected = (probabilities_of(values, float(np.exp(middle))) * values).sum(1)
        too_sure = float(np.average(expected - values[rows, labels], weights=weights)) > 0
        low, high = (middle, high) if too_sure else (low, middle)
    return float(np.exp((low + high) / 2))


def with_temperature(trained: TrainedStudent, recipe: Recipe, prepared: Prepared) -> TrainedStudent:
    """A student with its task's temperature set, where the task has labels and the recipe keeps speakers for this; else the same."""
    if prepared.task.verifies:
        return trained
    if not prepared.split.validation or prepared.split.speaker_dependent:
        log.info(
            "no temperature: expected validation speakers, got none, so probabilities may be too sure: "
            "set data.validation_speakers"
        )
        return trained
    scores, labels = _answers(trained, recipe, prepared, prepared.split.validation)
    every = {"validation": (scores, labels)}
    every |= {name: _answers(trained, recipe, prepared, heard) for name, heard in prepared.strange}
    temperature = _together(list(every.values()))
    tasks = [
        replace(task, temperature=temperature) if task.name == prepared.task.name else task
        for task in trained.student.config.tasks
    ]
    figures = {
        "value": temperature,
        **({"alone": {name: fit_temperature(*of) for name, of in every.items()}} if prepared.strange else {}),
        "utterances": len(labels),
        "speakers": len({utterance.speaker for utterance in prepared.split.validation}),
        **_before_and_after(scores, labels, temperature),
    }
    return trained.with_tasks(tasks, replace(trained.provenance, temperature=figures))


def _before_and_after(scores: NDArray[np.float32], labels: NDArray[np.int64], temperature: float) -> dict[str, float]:
    """Negative log-likelihood and expected calibration error without and with a temperature."""
    return {
        f"{name}_{when}": figure
        for when, degrees in (("before", 1.0), ("after", temperature))
        for name, figure in (
            ("nll", negative_log_likelihood(scores, labels, degrees)),
            ("ece", calibration_error(probabilities_of(scores, degrees), labels)),
        )
    }


def _together(every: Sequence[tuple[NDArray[np.float32], NDArray[np.int64]]]) -> float:
    """One temperature for several corpora, each of the same weight."""
    scores, labels = (np.concatenate(part) for part in zip(*every, strict=True))
    weights = np.concatenate([np.full(len(one), 1 / len(one)) for _, one in every])
    return fit_temperature(scores, labels, weights)


def _answers(
    trained: TrainedStudent, recipe: Recipe, prepared: Prepared, utterances: Sequence[Utterance]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scores [N, C] and truth [N] of some utterances."""
    kept = replace(trained, student=copy.deepcopy(trained.student))  # answering folds and rounds
    answer = student_answerer(kept, prepared.task.name)
    found = answers(answer, utterances, trim_db=recipe.segments.trim_db)
    scores = np.stack([a.scores for a in found if a.scores is not None])
    return scores, np.array([prepared.task.labels.index(utterance.label) for utterance in utterances])
