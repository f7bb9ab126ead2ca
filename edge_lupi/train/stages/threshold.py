"""Decision threshold: the cosine above which two voices count as one, at the EER of validation speakers.

Their recordings are cut into pieces of a few seconds, as a stream hears them; every pair of pieces is a trial, and the
threshold is where as many are wrongly taken for one voice as for two (EER), or where no more than 2 % of the pairs of two
voices are, if that is stricter. Pairs of one recording are easy, so the threshold is on the strict side for a voice that comes back on
another day.

It is one cosine for every duration. For a false accept rate of 1 %, thresholds of their own for 1 to 5 s of speech,
fitted on half of the 20 validation voices of LibriSpeech, gave the other half the same mean of both error rates as the
one for 3 s, to 0.3 points. `edge-lupi calibrate` fits them where the device's own recordings say otherwise.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edge_lupi.data.speech import read_speech
from edge_lupi.data.utterance import Utterance
from edge_lupi.evaluate.trained import student_answerer
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.metrics.verification import eer, threshold_for
from edge_lupi.models.files import TrainedStudent
from edge_lupi.train.examples.prepared import Prepared
from edge_lupi.train.recipe import Recipe

__all__ = ["with_threshold"]

log = logging.getLogger(__name__)

PIECE_SECONDS = 3
MOST_FALSE_ACCEPTS = 0.02


def with_threshold(trained: TrainedStudent, recipe: Recipe, prepared: Prepared) -> TrainedStudent:
    """A student with its task's threshold set, where the task compares voices and the recipe keeps some for this; else the same."""
    if not prepared.task.verifies or not prepared.split.validation:
        return trained
    classes = tuple(sorted({u.label for u in prepared.split.validation}))
    vectors, voices = _pieces(trained, prepared.split.validation)
    first, second = np.triu_indices(len(voices), 1)
    same = voices[first] == voices[second]
    if not same.any() or same.all():
        log.info(
            f"no threshold: expected validation speakers with two pieces of {PIECE_SECONDS} s each, got {len(voices)} pieces of {len(set(voices))} voices: raise data.validation_speakers, or set it with edge-lupi calibrate"
        )
        return trained
    scores = (vectors @ vectors.T)[first, second]
    found = eer(scores, same)
    threshold = max(found.threshold, threshold_for(scores[~same], MOST_FALSE_ACCEPTS))
    log.info(
        f"threshold {threshold:.3f}, set by {len(voices)} pieces of {len(classes)} voices; few set it badly, and edge-lupi calibrate sets it by those of strangers"
    )
    tasks = [
        replace(task, threshold=threshold) if task.name == prepared.task.name else task
        for task in trained.student.config.tasks
    ]
    figures = {"eer": found.value, "pieces": len(voices), "piece_seconds": PIECE_SECONDS, "speakers": len(classes)}
    return trained.with_tasks(tasks, replace(trained.provenance, threshold=figures))


def _pieces(trained: TrainedStudent, utterances: Sequence[Utterance]) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors [N, D] of all pieces, and whose they are [N]. Recordings shorter than a piece are joined, voice by voice."""
    answer = student_answerer(_copy(trained))
    length = PIECE_SECONDS * SAMPLE_RATE_HZ
    vectors, voices = [], []
    short: dict[str, np.ndarray] = {}
    for utterance in utterances:
        samples = read_speech(utterance)[0]
        if len(samples) < length:
            samples = np.concatenate([short.pop(utterance.label, samples[:0]), samples])
            if len(samples) < length:
                short[utterance.label] = samples
        for start in range(0, len(samples) - length + 1, length):
            vectors.append(answer(samples[start : start + length], None).embedding)
            voices.append(utterance.label)
    return np.array(vectors), np.array(voices)


def _copy(trained: TrainedStudent) -> TrainedStudent:
    """Answering folds and rounds; the original must stay as it is."""
    return replace(trained, student=copy.deepcopy(trained.student))
