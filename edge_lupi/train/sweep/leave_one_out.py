"""Leave-one-speaker-out cross-validation: every speaker is tested once, by a student that has not heard them. For small corpora.

    OUT/fold0/student.pt ...        # one voice held out in each; where voices are compared three, for a trial needs strangers
    OUT/leave_one_out.json          # the figure, and that of every fold; voices: also of the student that all began with

Intervals are over speakers where the task has classes. The same command goes on after a kill: every fold keeps its checkpoint.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_lupi.data.pairs import pairs_of
from edge_lupi.disk import write_at_once
from edge_lupi.errors import InputError
from edge_lupi.evaluate.answers import answers
from edge_lupi.evaluate.measure import scored
from edge_lupi.evaluate.reports import ClassReport, TrialReport, class_report, trial_report
from edge_lupi.evaluate.trained import open_trained
from edge_lupi.metrics.confidence import probabilities_of
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.examples.prepared import Prepared
from edge_lupi.train.recipe import Recipe
from edge_lupi.train.stages.student import train_student
from edge_lupi.words import json_text, printable

__all__ = ["ClassAnswers", "TrialScores", "folds_of", "leave_one_out", "measured", "pooled"]

log = logging.getLogger(__name__)

STRANGERS = 3  # speakers of a fold where voices are compared


@dataclass(frozen=True)
class TrialScores:
    """Of every trial among a fold's test voices [N]: cosine, whether it is one voice, and a name of the enrolled recording."""

    scores: NDArray[np.float32]
    targets: NDArray[np.bool_]
    enrolled: NDArray[np.str_]


@dataclass(frozen=True)
class ClassAnswers:
    """Of every test utterance of a fold: its class [N], the student's probabilities [N, C], and its speaker [N]."""

    truth: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    speakers: NDArray[np.str_]


def leave_one_out(
    recipe: Recipe, prepared: Prepared, folder: Path, *, name: str = "student"
) -> TrialReport | ClassReport:
    """Train and measure every fold. Raises InputError where nobody says who speaks, or a teacher knows those left out."""
    prepared = prepared.in_memory("leaving speakers out in turn")
    _check(recipe, prepared)
    verifies = prepared.task.verifies
    folds = folds_of(prepared.corpus.speakers, STRANGERS if verifies else 1)
    after, before = [], []
    for number, speakers in enumerate(folds):
        fold = replace(recipe, data=replace(recipe.data, test=speakers))
        parts = prepare(fold)
        log.info(f"fold {number + 1} of {len(folds)}: without {', '.join(map(printable, speakers))}")
        after.append(measured(train_student(fold, parts, folder / f"fold{number}", name=name), parts))
        if verifies and recipe.student.start_from:
            before.append(measured(Path(recipe.student.start_from), parts))
    every, single = pooled(prepared, after), [pooled(prepared, [one]).plain() for one in after]
    content = {**every.plain(), "folds": [{"speakers": list(s), **r} for s, r in zip(folds, single, strict=True)]}
    if before:
        begun = pooled(prepared, before)
        log.info(f"{recipe.student.start_from}, on the same: {begun.text()}")
        content["start_from"] = begun.plain()
    write_at_once(folder / "leave_one_out.json", json_text(content, indent=1).encode())
    return every


def _check(recipe: Recipe, prepared: Prepared) -> None:
    """Raise InputError where speakers cannot be left out in turn."""
    teachers = [one.path for one in recipe.teachers if one.path.endswith(".pt")]
    if teachers:
        raise InputError(
            f"expected no teacher of this project where speakers are left out in turn, got {teachers[0]}, which may have heard them: leave it out"
        )
    if prepared.split.speaker_dependent:
        raise InputError("expected a corpus that is split by speaker, to leave speakers out in turn")
    nobody = [u.name for u in prepared.corpus.utterances if u.speaker is None]
    if nobody:
        raise InputError(
            f"expected to know who speaks in all of {prepared.corpus.name}, got {len(nobody)} recordings without ({nobody[0]}): say it by data.pattern"
        )


def folds_of(speakers: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """Every speaker in one fold, `size` at least in each."""
    count = len(speakers) // size
    if count < 2:
        raise InputError(
            f"expected at least {2 * size} speakers to leave {size} out in turn, got {len(speakers)}: bring more"
        )
    return [tuple(speakers[number::count]) for number in range(count)]


def measured(path: Path, parts: Prepared) -> TrialScores | ClassAnswers:
    """What the student at `path` answers for a fold's test utterances."""
    model, test = open_trained(path, None), parts.split.test
    if model.task.verifies:
        scores, targets, enrolled = scored(model.answer, pairs_of(test).trials)
        return TrialScores(scores, targets, np.array([f"{path} {number}" for number in enrolled]))
    scores = np.stack([a.scores for a in answers(model.answer, test, trim_db=model.trim_db) if a.scores is not None])
    truth = np.array([model.task.labels.index(utterance.label) for utterance in test])
    speakers = np.array([utterance.speaker for utterance in test])
    return ClassAnswers(truth, probabilities_of(scores, model.task.temperature), speakers)


def pooled(prepared: Prepared, folds: Sequence[TrialScores | ClassAnswers]) -> TrialReport | ClassReport:
    """One figure over what was `measured` in every fold."""
    every = {field.name: np.concatenate([getattr(one, field.name) for one in folds]) for field in fields(folds[0])}
    task = prepared.task
    if task.verifies:
        return trial_report(task.name, every["scores"], every["targets"], every["enrolled"])
    groups = every["speakers"] if len(folds) > 1 else None
    return class_report(task.name, task.labels, every["truth"], every["probabilities"], groups)
