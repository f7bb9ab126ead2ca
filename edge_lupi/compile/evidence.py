"""Labelled speech that precisions are compared on. Corpus, perhaps with trials, and a student -> segments; encoder -> EER or UAR.

Of a corpus that the student was trained on, only what training has not heard is used, as `evaluate` does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_lupi import disk
from edge_lupi.bundle.bundle import Bundle
from edge_lupi.bundle.provenance import Provenance
from edge_lupi.compile.findings import Findings, Metric
from edge_lupi.compile.outcome import Outcome
from edge_lupi.data.readers.corpora import read_corpus
from edge_lupi.data.speech import read_speech
from edge_lupi.data.trials import Trial, read_trials
from edge_lupi.data.utterance import Utterance
from edge_lupi.errors import InputError
from edge_lupi.evaluate.answers import Answer, Answerer, answers, trim_db_of
from edge_lupi.evaluate.measure import known_labels, scored
from edge_lupi.evaluate.unheard import corpus_for, unheard
from edge_lupi.runtime.compiled_student import Branch, CompiledStudent
from edge_lupi.runtime.engines.engine import Engine
from edge_lupi.task import Task

__all__ = ["AroundEncoder", "Evidence", "evidence_for_bundle", "read_evidence"]

log = logging.getLogger(__name__)

Array = NDArray[np.float32]
MOST_SEGMENTS = 400
FEWEST_UTTERANCES = 100  # that segments are taken from; the metric is measured on all


@dataclass(frozen=True)
class AroundEncoder:
    """A student without its encoder, for one task: what comes before it and what comes after it.

    `segments`: samples [T] -> log-mel [S, 80, 1, frames]; `raised`: log-mel -> quiet ones at the level of training; `branch`:
    the task's aggregator.
    """

    task: Task
    segments: Callable[[Array], Array]
    raised: Callable[[Array], Array]
    branch: Branch

    @classmethod
    def of_bundle(cls, bundle: Bundle, task: Task) -> AroundEncoder:
        """Of a bundle, on the CPU, whatever engines it has."""
        student = CompiledStudent(replace(bundle, engines=()), task.name)
        return cls(task, student.segments, student.raised, student.branches[task.name])

    def answerer(self, encoder: Engine) -> Answerer:
        """The student as it answers with this encoder, log_mel [B, 80, 1, frames] -> embedding [B, D]."""

        def answer(samples: Array, _: Utterance | None) -> Answer:
            state = self.branch.initial_state()
            for segment in self.segments(samples):
                embedding = encoder.run({"log_mel": self.raised(segment[None])})["embedding"]
                step = self.branch.step(embedding, state)
                state = step.state
            return Answer(step.embedding[0], None if step.scores is None else step.scores[0])

        return answer


@dataclass(frozen=True)
class Evidence:
    """Utterances with labels, or trials and their recordings. Where a task compares voices and there are no trials, only sound.

    `segments` are log-mel [S, 80, 1, frames], at most 400, spread over at most 100 utterances that are drawn at random.
    """

    around: AroundEncoder
    utterances: tuple[Utterance, ...]
    trials: tuple[Trial, ...]
    trim_db: float
    segments: Array

    def judge(self, findings: Findings, encoders: Mapping[str, Engine], truth: Engine) -> Findings:
        """Add the task's metric of every encoder, and by how much it is worse than that of `truth`, the float student's."""
        if self.around.task.verifies and not self.trials:
            said = "without trials EER is not measured, the speech serves for the cosines alone"
            log.info(said, extra={"options": ("trials",)})
            return findings
        reference = self._outcome(truth)
        precisions = {}
        for name, engine in encoders.items():
            outcome = reference if engine is truth else self._outcome(engine)
            loss = outcome.loss(reference)
            precisions[name] = replace(findings.precisions[name], metric=outcome.value, loss=loss)
        measured_on = f"{len(self.trials)} trials" if self.trials else f"{len(self.utterances)} utterances"
        return replace(findings, precisions=precisions, metric=Metric(reference.metric, reference.value, measured_on))

    def _outcome(self, encoder: Engine) -> Outcome:
        """What the student says with this encoder, trial by trial or utterance by utterance."""
        answer = self.around.answerer(encoder)
        if self.trials:
            return Outcome("eer", *scored(answer, self.trials))
        place = {label: number for number, label in enumerate(self.around.task.labels)}
        truth = np.array([place[utterance.label] for utterance in self.utterances])
        said = answers(answer, self.utterances, trim_db=self.trim_db)
        classes = np.array([int(one.scores.argmax()) for one in said if one.scores is not None])
        return Outcome("uar", classes, truth, np.arange(len(truth)))


def read_evidence(
    tasks: Mapping[str, Task],
    origin: Provenance,
    around: Callable[[Task], AroundEncoder],
    data: Path,
    trials: Path | None,
) -> Evidence:
    """What a corpus holds for a student of these tasks and this origin (its provenance).

    The task is the one that compares voices where there are trials, else the one with labels.
    """
    student = around(_task_for(tasks, trials))
    kept = () if trials is None else _unheard_trials(trials, data, origin)
    utterances = _recordings(kept) if kept else _utterances(data, student.task, origin)
    trim_db = 0.0 if kept else trim_db_of(origin)
    return Evidence(student, utterances, kept, trim_db, _segments(student, utterances, trim_db))


def evidence_for_bundle(bundle: Bundle, data: Path, trials: Path | None) -> Evidence:
    """What a corpus holds for a compiled student."""
    return read_evidence(
        bundle.tasks, bundle.provenance, lambda task: AroundEncoder.of_bundle(bundle, task), data, trials
    )


def _recordings(trials: Sequence[Trial]) -> tuple[Utterance, ...]:
    return tuple(
        Utterance(path.name, path, "")
        for path in sorted({path for trial in trials for path in (trial.enrol, trial.test)})
    )


def _utterances(data: Path, task: Task, origin: Provenance) -> tuple[Utterance, ...]:
    utterances, _ = unheard(corpus_for(origin, data, task.name), origin)
    if task.classifies:
        known_labels(task.labels, utterances)
    if not utterances:
        raise InputError(
            f"expected utterances that training has not heard in {data}, got none: give other data", options=("data",)
        )
    return utterances


def _segments(student: AroundEncoder, utterances: Sequence[Utterance], trim_db: float) -> Array:
    """Segments from many utterances: of so many at least, and of more where those are short."""
    pieces: list[Array] = []
    for index in np.random.default_rng(0).permutation(len(utterances)):
        if len(pieces) >= FEWEST_UTTERANCES and sum(map(len, pieces)) >= MOST_SEGMENTS:
            break
        pieces.append(student.segments(read_speech(utterances[index], trim_db)[0]))
    every = np.concatenate(pieces)
    result: Array = every[np.linspace(0, len(every) - 1, min(len(every), MOST_SEGMENTS)).astype(int)]
    return result


def _task_for(tasks: Mapping[str, Task], trials: Path | None) -> Task:
    fitting = [task for task in tasks.values() if task.verifies == (trials is not None)]
    if not fitting and trials is not None:
        raise InputError(
            f"expected a student that compares voices, got one for {', '.join(tasks)}: leave the trials out",
            options=("trials",),
        )
    return fitting[0] if fitting else next(iter(tasks.values()))


def _unheard_trials(listed: Path, data: Path, origin: Provenance) -> tuple[Trial, ...]:
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
            f"expected trials of voices that training has not heard, got none of {len(trials)}: give other trials",
            options=("trials",),
        )
    return kept
