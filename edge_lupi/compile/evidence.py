"""Labelled speech that the gate judges by. Corpus, perhaps with trials, and a student -> segments, and an encoder's EER or UAR.

Of a corpus that the student was trained on, only what training has not heard is used, as `evaluate` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lupi import disk
from edge_lupi.bundle.bundle import Bundle, Task
from edge_lupi.compile.choice import Findings, Measured, Metric
from edge_lupi.data.corpora import read_corpus
from edge_lupi.data.speech import read_speech
from edge_lupi.data.trials import Trial, read_trials
from edge_lupi.data.utterance import Utterance
from edge_lupi.errors import InputError
from edge_lupi.evaluate.reports import Answer, Answerer, Model, corpus_for, evaluate_classes, evaluate_trials, unheard
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.engines.engine import Engine
from edge_lupi.terminal import note

__all__ = ["Evidence", "read_evidence"]

Array = NDArray[np.float32]
MOST_SEGMENTS = 400
FEWEST_UTTERANCES = 100  # that segments are taken from; the metric is measured on all


@dataclass(frozen=True)
class Evidence:
    """Utterances with labels, or trials and their recordings. Where a task compares voices and there are no trials, only sound.

    `segments` are log-mel [S, 80, 1, frames], at most 400, spread over at most 100 utterances that are drawn at random.
    """

    student: CompiledStudent
    utterances: tuple[Utterance, ...]
    trials: tuple[Trial, ...]
    trim_db: float
    segments: Array

    def judge(self, precisions: Mapping[str, Measured], encoders: Mapping[str, Engine], truth: Engine) -> Findings:
        """Add the task's metric of every encoder, and of `truth`, the float student's."""
        if self.student.task.kind == "verification" and not self.trials:
            note("no --trials: EER is not measured, the speech serves for the cosines alone")
            return Findings(precisions, len(self.segments))
        name, measured_on, float_student = self._metric(truth)
        values = {n: float_student if engine is truth else self._metric(engine)[2] for n, engine in encoders.items()}
        known = {n: replace(one, metric=values[n]) for n, one in precisions.items()}
        return Findings(known, len(self.segments), Metric(name, float_student, measured_on))

    def _metric(self, encoder: Engine) -> tuple[str, str, float]:
        """eer or uar, on what, and its value with this encoder before the student's aggregator."""
        task = self.student.task
        answer = _answerer(self.student, lambda segments: encoder.run({"log_mel": segments})["embedding"])
        if self.trials:
            return "eer", f"{len(self.trials)} trials", evaluate_trials(answer, self.trials, task.name).eer.value
        found = evaluate_classes(answer, self.utterances, task.labels, task.name, trim_db=self.trim_db)
        return "uar", f"{len(self.utterances)} utterances", found.uar.value


def read_evidence(bundle: Bundle, data: Path, trials: Path | None) -> Evidence:
    """What a corpus holds for a bundle's task: the one that compares voices where there are trials, else the one with labels."""
    task = _task_for(bundle, trials)
    student = CompiledStudent(replace(bundle, engines=()), task.name)
    origin = bundle.manifest.get("training", {})
    kept = () if trials is None else _unheard_trials(trials, data, origin)
    utterances = _recordings(kept) if kept else _utterances(data, task.name, origin)
    trim_db = 0.0 if kept else Model(_answerer(student, student.encode), student.task, origin).trim_db
    return Evidence(student, utterances, kept, trim_db, _segments(student, utterances, trim_db))


def _recordings(trials: Sequence[Trial]) -> tuple[Utterance, ...]:
    return tuple(
        Utterance(path.name, path, "")
        for path in sorted({path for trial in trials for path in (trial.enrol, trial.test)})
    )


def _utterances(data: Path, task: str, origin: Mapping[str, Any]) -> tuple[Utterance, ...]:
    utterances, _ = unheard(corpus_for(origin, data, task), origin)
    if not utterances:
        raise InputError(f"expected utterances that training has not heard in {data}, got none: give another --data")
    return utterances


def _segments(student: CompiledStudent, utterances: Sequence[Utterance], trim_db: float) -> Array:
    """Segments from many utterances: of so many at least, and of more where those are short."""
    pieces: list[Array] = []
    for index in np.random.default_rng(0).permutation(len(utterances)):
        if len(pieces) >= FEWEST_UTTERANCES and sum(map(len, pieces)) >= MOST_SEGMENTS:
            break
        pieces.append(student.segments(read_speech(utterances[index], trim_db)[0]))
    every = np.concatenate(pieces)
    return every[np.linspace(0, len(every) - 1, min(len(every), MOST_SEGMENTS)).astype(int)]


def _task_for(bundle: Bundle, trials: Path | None) -> Task:
    wanted = "classification" if trials is None else "verification"
    fitting = [task for task in bundle.tasks.values() if task.kind == wanted]
    if not fitting and trials is not None:
        raise InputError(f"expected a student that compares voices for --trials, got one for {', '.join(bundle.tasks)}")
    return fitting[0] if fitting else bundle.task()


def _unheard_trials(listed: Path, data: Path, origin: Mapping[str, Any]) -> tuple[Trial, ...]:
    """Trials without a recording of a speaker whom training has heard, as far as the corpus tells who speaks."""
    trials = read_trials(listed, data.parent if disk.kind_of(data) == "file" else data)
    heard: set[Path] = set()
    with suppress(InputError):  # a folder that is no corpus: nobody knows
        corpus = read_corpus(data)
        voices = tuple(replace(u, speaker=u.speaker or u.label) for u in corpus.utterances)
        unknown = {u.audio.resolve() for u in unheard(replace(corpus, utterances=voices), origin)[0]}
        heard = {u.audio.resolve() for u in voices} - unknown
    kept = tuple(t for t in trials if not {t.enrol.resolve(), t.test.resolve()} & heard)
    if not kept:
        raise InputError(
            f"expected trials of voices that training has not heard, got none of {len(trials)}: give another --trials"
        )
    return kept


def _answerer(student: CompiledStudent, encode: Callable[[Array], Array]) -> Answerer:
    """The student as it answers with another encoder, log-mel [B, 80, 1, frames] -> [B, D]."""

    def answer(samples: Array, _: Utterance | None) -> Answer:
        state = student.initial_state()
        for segment in student.segments(samples):
            step = student.step(encode(student.raised(segment[None])), state)
            state = step.state
        return Answer(step.embedding[0], None if step.scores is None else step.scores[0])

    return answer
