"""What a model answered to an exam, item by item: figures, worst items and pictures are made of it.

exam = exam_for(model, data, trials=None)          # what it is measured on
said = answered(model, exam)                       # ClassAnswers or TrialAnswers
said.report.text()
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_lupi.data.pairs import pairs_of
from edge_lupi.data.trials import Trial, check_recordings, read_trials, speakers_of
from edge_lupi.data.utterance import Utterance
from edge_lupi.errors import InputError
from edge_lupi.evaluate.answers import Answerer, Model, answers, listened, with_noise
from edge_lupi.evaluate.reports import ClassReport, TrialReport, class_report, trial_report
from edge_lupi.evaluate.unheard import corpus_for, unheard
from edge_lupi.metrics.confidence import probabilities_of
from edge_lupi.sound.audio import read_audio
from edge_lupi.vectors import Array, unit

__all__ = [
    "ClassAnswers",
    "Exam",
    "TrialAnswers",
    "answered",
    "class_answers",
    "exam_for",
    "known_labels",
    "trial_answers",
]

Truth = NDArray[np.bool_]
Numbers = NDArray[np.int64]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exam:
    """Trials, or utterances to classify: those of `corpus` that are left; `speakers` says who speaks in each recording of trials."""

    corpus: str
    licence: str
    utterances: tuple[Utterance, ...] = ()
    trials: tuple[Trial, ...] = ()
    left_out: int = 0

    @property
    def speakers(self) -> dict[Path, str]:
        """Who speaks in each recording of the trials: by the corpus, or else a number for those that target trials join."""
        known = {u.audio: u.speaker for u in self.utterances if u.speaker is not None}
        return {path: known.get(path) or f"voice {number + 1}" for path, number in speakers_of(self.trials).items()}


@dataclass(frozen=True, eq=False)
class ClassAnswers:
    """Of N utterances: the class [N] that is true, probabilities [N, C] and embeddings [N, D]."""

    report: ClassReport
    utterances: tuple[Utterance, ...]
    truth: Numbers
    probabilities: Array
    embeddings: Array


@dataclass(frozen=True, eq=False)
class TrialAnswers:
    """Of T trials: cosines [T], truth [T], and which of F recordings are compared [T]; unit vectors [F, D] of these."""

    report: TrialReport
    files: tuple[Path, ...]
    embeddings: Array
    scores: Array
    targets: Truth
    enrolled: Numbers
    tested: Numbers


def exam_for(
    model: Model,
    data: Path,
    trials: Path | None,
    *,
    split: str | None = None,
    everyone: bool = False,
    pattern: str = "",
) -> Exam:
    """A trial list, or those utterances of a corpus whose speakers training has not heard.

    Where voices are compared and there is no list, trials are made of these utterances.
    """
    verifies = model.task.verifies
    if verifies and trials is not None:
        return Exam(trials.name, "", trials=tuple(read_trials(trials, data)))
    corpus = corpus_for(model.origin, data, "speaker" if verifies else model.task.name, pattern)
    measured, left = (corpus.utterances, 0) if everyone else unheard(corpus, model.origin)
    if split is not None:
        measured = tuple(u for u in measured if u.split == split)
    if not measured:
        raise InputError(
            f"expected utterances that training has not heard in {data}, got none: bring voices of others, take another split, or measure on everyone, whom training has heard too",
            options=("split", "all"),
        )
    if left:
        what = "utterances heard" if model.origin.speaker_dependent else "utterances of speakers heard"
        said = f"{left} {what} in training are left out, unless everyone is asked for"
        log.info(said, extra={"options": ("all",)})
    if model.origin.speaker_dependent:
        log.info("speaker dependent: training has heard these voices")
    made = list[Trial]()
    if verifies:
        pairs = pairs_of(measured)
        log.info(pairs.text())
        made = pairs.trials
    return Exam(corpus.name, corpus.licence, measured, tuple(made), left)


def answered(model: Model, exam: Exam, snr_db: float | None = None) -> ClassAnswers | TrialAnswers:
    """What a model makes of an exam."""
    if exam.trials:
        return trial_answers(model.answer, exam.trials, model.task.name, snr_db=snr_db)
    return class_answers(
        model.answer,
        exam.utterances,
        model.task.labels,
        model.task.name,
        snr_db=snr_db,
        trim_db=model.trim_db,
        temperature=model.task.temperature,
    )


def class_answers(
    answer: Answerer,
    utterances: Sequence[Utterance],
    labels: Sequence[str],
    task: str,
    *,
    snr_db: float | None = None,
    trim_db: float = 0.0,
    temperature: float = 1.0,
) -> ClassAnswers:
    """Classify every utterance; `temperature` divides scores for the probabilities."""
    index = {label: number for number, label in enumerate(labels)}
    known_labels(labels, utterances)
    truth, scores, embeddings = [], [], []
    for utterance, found in zip(utterances, answers(answer, utterances, snr_db, trim_db), strict=True):
        if found.scores is None:
            raise InputError(
                f"expected a model with labels, got one that compares voices: give trials for task {task}",
                options=("trials",),
            )
        truth.append(index[utterance.label])
        scores.append(found.scores)
        embeddings.append(found.embedding)
    probabilities, right = probabilities_of(np.stack(scores), temperature), np.array(truth)
    report = class_report(task, labels, right, probabilities)
    return ClassAnswers(report, tuple(utterances), right, probabilities, np.stack(embeddings))


def known_labels(labels: Sequence[str], utterances: Sequence[Utterance]) -> None:
    """Raise InputError where utterances have a label that a model does not know."""
    unknown = sorted({u.label for u in utterances} - set(labels))
    if unknown:
        raise InputError(
            f"expected the labels {', '.join(labels)}, got also {', '.join(unknown[:5])}: this model was trained for other classes"
        )


def trial_answers(answer: Answerer, trials: Sequence[Trial], task: str, *, snr_db: float | None = None) -> TrialAnswers:
    """Score every trial by the cosine of two utterance embeddings; every recording is heard once."""
    check_recordings(trials)
    files = sorted({path for trial in trials for path in (trial.enrol, trial.test)})
    place = {path: number for number, path in enumerate(files)}
    heard = (with_noise(read_audio(path), path.name, snr_db) for path in listened(files))
    vectors = np.stack([unit(answer(samples, None).embedding) for samples in heard])
    enrolled, tested = (
        np.array([place[path] for path in paths]) for paths in zip(*((t.enrol, t.test) for t in trials), strict=True)
    )
    scores = (vectors[enrolled] * vectors[tested]).sum(1)
    targets = np.array([trial.target for trial in trials])
    return TrialAnswers(
        trial_report(task, scores, targets, enrolled), tuple(files), vectors, scores, targets, enrolled, tested
    )
