"""Measure a model on labelled speech: EER and minDCF of trials, or UAR and accuracy of utterances.

report(open_model(path), data, trials=None).text()
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_lupi.data.pairs import pairs_of
from edge_lupi.data.trials import Trial, missing_files, read_trials
from edge_lupi.data.utterance import Utterance
from edge_lupi.errors import InputError
from edge_lupi.evaluate.answers import Answerer, Model, answers, listened
from edge_lupi.evaluate.reports import ClassReport, TrialReport, class_report, trial_report
from edge_lupi.evaluate.unheard import corpus_for, unheard
from edge_lupi.metrics.confidence import probabilities_of
from edge_lupi.sound.audio import read_audio
from edge_lupi.vectors import Array, unit

__all__ = ["evaluate_classes", "evaluate_trials", "known_labels", "report", "scored"]

log = logging.getLogger(__name__)


def report(
    model: Model,
    data: Path,
    trials: Path | None,
    *,
    split: str | None = None,
    everyone: bool = False,
    snr_db: float | None = None,
    pattern: str = "",
) -> TrialReport | ClassReport:
    """Measure on a trial list, or on those utterances of a corpus whose speakers training has not heard.

    Where voices are compared and there is no list, trials are made of these utterances.
    """
    verifies = model.task.verifies
    if verifies and trials is not None:
        return evaluate_trials(model.answer, read_trials(trials, data), model.task.name)
    corpus = corpus_for(model.origin, data, "speaker" if verifies else model.task.name, pattern)
    measured, left = (corpus.utterances, 0) if everyone else unheard(corpus, model.origin)
    if split is not None:
        measured = tuple(u for u in measured if u.split == split)
    if not measured:
        raise InputError(
            f"expected utterances that training has not heard in {data}, got none: bring voices of others or another --split, or pass --all to measure on voices that training has heard"
        )
    if left:
        what = "utterances heard" if model.origin.speaker_dependent else "utterances of speakers heard"
        log.info(f"{left} {what} in training are left out; --all takes them in")
    if model.origin.speaker_dependent:
        log.info("speaker dependent: training has heard these voices")
    if verifies:
        pairs = pairs_of(measured)
        log.info(pairs.text())
        return evaluate_trials(model.answer, pairs.trials, model.task.name)
    return evaluate_classes(
        model.answer,
        measured,
        model.task.labels,
        model.task.name,
        snr_db=snr_db,
        trim_db=model.trim_db,
        temperature=model.task.temperature,
    )


def evaluate_classes(
    answer: Answerer,
    utterances: Sequence[Utterance],
    labels: Sequence[str],
    task: str,
    *,
    snr_db: float | None = None,
    trim_db: float = 0.0,
    temperature: float = 1.0,
) -> ClassReport:
    """Classify every utterance. UAR is the mean recall over the classes; `temperature` divides scores for the ECE."""
    index = {label: number for number, label in enumerate(labels)}
    known_labels(labels, utterances)
    truth, scores = [], []
    for utterance, found in zip(utterances, answers(answer, utterances, snr_db, trim_db), strict=True):
        if found.scores is None:
            raise InputError(
                f"expected a model with labels, got one that compares voices: pass --trials for task {task}"
            )
        truth.append(index[utterance.label])
        scores.append(found.scores)
    return class_report(task, labels, np.array(truth), probabilities_of(np.stack(scores), temperature))


def known_labels(labels: Sequence[str], utterances: Sequence[Utterance]) -> None:
    """Raise InputError where utterances have a label that a model does not know."""
    unknown = sorted({u.label for u in utterances} - set(labels))
    if unknown:
        raise InputError(
            f"expected the labels {', '.join(labels)}, got also {', '.join(unknown[:5])}: this model was trained for other classes"
        )


def evaluate_trials(answer: Answerer, trials: Sequence[Trial], task: str) -> TrialReport:
    """Score every trial by the cosine of two utterance embeddings."""
    return trial_report(task, *scored(answer, trials))


def scored(answer: Answerer, trials: Sequence[Trial]) -> tuple[Array, NDArray[np.bool_], NDArray[np.int64]]:
    """Cosine, truth and the enrolled recording's number of every trial, [N] each; every recording is heard once."""
    missing = missing_files(trials)
    if missing:
        raise InputError(
            f"expected the recordings of the trials, got {len(missing)} missing, the first {missing[0]}: pass --data with the folder that the list's paths begin in"
        )
    files = sorted({path for trial in trials for path in (trial.enrol, trial.test)})
    place = {path: number for number, path in enumerate(files)}
    vectors = np.stack([unit(answer(read_audio(path), None).embedding) for path in listened(files)])
    enrol = np.array([place[trial.enrol] for trial in trials])
    scores = (vectors[enrol] * vectors[[place[trial.test] for trial in trials]]).sum(1)
    return scores, np.array([trial.target for trial in trials]), enrol
