"""Every speaker is tested once by a student that has not heard them: a training per fold, one figure over all. For small corpora.

    OUT/fold0/student.pt ...        # one voice held out in each; where voices are compared three, for a trial needs strangers
    OUT/leave_one_out.json          # the figure, and that of every fold; voices: also of the student that all began with

Intervals are over speakers where labels are told. Taken up again after a kill: what a fold has learnt is kept beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_lupi.data.pairs import pairs_of
from edge_lupi.disk import write_at_once
from edge_lupi.errors import InputError
from edge_lupi.evaluate.reports import ClassReport, TrialReport, answers, class_report, scored, trial_report
from edge_lupi.evaluate.trained import open_trained
from edge_lupi.metrics.confidence import probabilities_of
from edge_lupi.terminal import note
from edge_lupi.train.examples.corpus import Prepared, prepare
from edge_lupi.train.recipe import Recipe
from edge_lupi.train.stages.student import train_student
from edge_lupi.words import json_text, printable

__all__ = ["folds_of", "leave_one_out", "measured", "pooled"]

STRANGERS = 3  # speakers of a fold where voices are compared


def leave_one_out(
    recipe: Recipe, prepared: Prepared, folder: Path, *, name: str = "student"
) -> TrialReport | ClassReport:
    """Train and measure every fold. Raises InputError where nobody says who speaks, or a teacher knows those left out."""
    heard = [one.path for one in recipe.teachers if one.path.endswith(".pt")]
    if heard:
        raise InputError(
            f"expected no teacher of this project where speakers are left out in turn, got {heard[0]}, which may have heard them: leave it out"
        )
    if prepared.shards or prepared.split.speaker_dependent:
        raise InputError("expected a corpus in memory that is split by speaker, to leave speakers out in turn")
    verifies = prepared.task.kind == "verification"
    nobody = [u.name for u in prepared.corpus.utterances if u.speaker is None]
    if nobody:
        raise InputError(
            f"expected to know who speaks in all of {prepared.corpus.name}, got {len(nobody)} recordings without ({nobody[0]}): say it by data.pattern"
        )
    folds = folds_of(prepared.corpus.speakers, STRANGERS if verifies else 1)
    found, before, reports = [], [], []
    for number, speakers in enumerate(folds):
        fold = replace(recipe, data=replace(recipe.data, test=speakers))
        parts = prepare(fold)
        note(f"fold {number + 1} of {len(folds)}: without {', '.join(map(printable, speakers))}")
        path = train_student(fold, parts, folder / f"fold{number}", name=name)
        found.append(measured(path, parts))
        reports.append(pooled(prepared, found[-1:]).plain())
        if verifies and recipe.student.start_from:
            before.append(measured(Path(recipe.student.start_from), parts))
    every = pooled(prepared, found)
    said = {**every.plain(), "folds": [{"speakers": list(s), **r} for s, r in zip(folds, reports, strict=True)]}
    if before:
        known = pooled(prepared, before)
        note(f"{recipe.student.start_from}, on the same: {known.text()}")
        said["start_from"] = known.plain()
    write_at_once(folder / "leave_one_out.json", json_text(said, indent=1).encode())
    return every


def folds_of(speakers: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """Every speaker in one fold, `size` at least in each."""
    count = len(speakers) // size
    if count < 2:
        raise InputError(
            f"expected at least {2 * size} speakers to leave {size} out in turn, got {len(speakers)}: bring more"
        )
    return [tuple(speakers[number::count]) for number in range(count)]


def measured(path: Path, parts: Prepared) -> dict[str, Any]:
    """What a student.pt says of a fold's test utterances, as arrays [N]: cosines, targets, enrolled; or truth, probabilities, groups."""
    model, test = open_trained(path, None), parts.split.test
    if model.task.kind == "verification":
        scores, targets, enrolled = scored(model.answer, pairs_of(test).trials)
        names = np.array([f"{path} {number}" for number in enrolled])
        return {"scores": scores, "targets": targets, "enrolled": names}
    scores = np.stack([a.scores for a in answers(model.answer, test, trim_db=model.trim_db) if a.scores is not None])
    truth = np.array([model.task.labels.index(utterance.label) for utterance in test])
    probabilities = probabilities_of(scores, model.task.temperature)
    return {"truth": truth, "probabilities": probabilities, "groups": np.array([u.speaker for u in test])}


def pooled(prepared: Prepared, folds: Sequence[dict[str, Any]]) -> TrialReport | ClassReport:
    """One figure over what `measured` found in every fold."""
    every = {key: np.concatenate([one[key] for one in folds]) for key in folds[0]}
    if prepared.task.kind == "verification":
        return trial_report(prepared.task.name, every["scores"], every["targets"], every["enrolled"])
    groups = every.pop("groups")
    return class_report(prepared.task.name, prepared.task.labels, **every, groups=groups if len(folds) > 1 else None)
