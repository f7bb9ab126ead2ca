"""How good is it? Answers of a student, teacher or bundle on labelled speech -> EER and minDCF, or UAR and accuracy.

Every figure comes with a 95 % bootstrap interval: over enrolled recordings for trials, over utterances for classes.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lupi.bundle.bundle import Task
from edge_lupi.bundle.manifest import origin_of
from edge_lupi.data.corpora import KINDS, read_corpus
from edge_lupi.data.corpora import kind_of as kind_of_corpus
from edge_lupi.data.pairs import pairs_of
from edge_lupi.data.speech import read_speech
from edge_lupi.data.trials import Trial, missing_files, read_trials
from edge_lupi.data.utterance import Corpus, Utterance
from edge_lupi.disk import kind_of
from edge_lupi.errors import InputError, MissingExtra
from edge_lupi.metrics.confidence import calibration_error, probabilities_of
from edge_lupi.metrics.verification import Interval, accuracy, bootstrap, confusion, eer, min_dcf, uar
from edge_lupi.sound.audio import read_audio
from edge_lupi.terminal import note
from edge_lupi.words import printable

__all__ = [
    "Answer",
    "Answerer",
    "ClassReport",
    "Model",
    "TrialReport",
    "answers",
    "class_report",
    "corpus_for",
    "evaluate_classes",
    "evaluate_trials",
    "open_model",
    "report",
    "scored",
    "trial_report",
    "unheard",
]

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Answer:
    """Utterance embedding [D] and, where the task has labels, scores [C]."""

    embedding: Array
    scores: Array | None


Answerer = Callable[[Array, Utterance | None], Answer]  # samples [T] at 16 kHz, and for a teacher the utterance's video


@dataclass(frozen=True)
class TrialReport:
    """Verification on a trial list."""

    task: str
    eer: Interval
    min_dcf: float
    trials: int
    targets: int

    def plain(self) -> dict[str, Any]:
        """As JSON has it; rates are fractions."""
        value = self.eer
        return {
            "task": self.task,
            "metric": "eer",
            "value": value.value,
            "low": value.low,
            "high": value.high,
            "min_dcf": self.min_dcf,
            "trials": self.trials,
            "targets": self.targets,
        }

    def text(self) -> str:
        """For people."""
        return f"EER {_percent(self.eer)}   minDCF(0.01) {self.min_dcf:.3f}   {self.trials} trials, {self.targets} of the same voice"


@dataclass(frozen=True)
class ClassReport:
    """Classification of utterances. `ece` says how far its probabilities are from what comes true."""

    task: str
    uar: Interval
    accuracy: float
    labels: tuple[str, ...]
    confusion: NDArray[np.int64]
    ece: float

    def plain(self) -> dict[str, Any]:
        """As JSON has it; rates are fractions."""
        value = self.uar
        return {
            "task": self.task,
            "metric": "uar",
            "value": value.value,
            "low": value.low,
            "high": value.high,
            "accuracy": self.accuracy,
            "ece": self.ece,
            "utterances": int(self.confusion.sum()),
            "labels": list(self.labels),
            "confusion": self.confusion.tolist(),
        }

    def text(self) -> str:
        """For people: the figures, and who is taken for whom (rows the truth)."""
        labels = [printable(label) for label in self.labels]
        width = max(len(label) for label in labels) + 1
        head = " " * width + "".join(f"{label[:6]:>7}" for label in labels)
        rows = [
            f"{label:<{width}}" + "".join(f"{n:7d}" for n in row)
            for label, row in zip(labels, self.confusion, strict=True)
        ]
        return "\n".join(
            [
                f"UAR {_percent(self.uar)}   accuracy {100 * self.accuracy:.1f} %   ECE {100 * self.ece:.1f} %   {int(self.confusion.sum())} utterances",
                "",
                head,
                *rows,
            ]
        )


@dataclass(frozen=True)
class Model:
    """Something to measure: how it answers, its task, and where it comes from (its `provenance`)."""

    answer: Answerer
    task: Task
    origin: Mapping[str, Any]

    @property
    def trim_db(self) -> float:
        """How far below the loudest the silence was that training left out at the ends; the speech gate does so on the device."""
        segments = self.origin.get("recipe", {}).get("segments", {})
        return float(segments.get("trim_db", 0.0))


def open_model(path: Path, task: str | None = None) -> Model:
    """A bundle folder, student.pt or teacher.pt."""
    if path.suffix != ".pt":
        return _open_bundle(path, task)
    if find_spec("torch") is None:
        raise MissingExtra("evaluate of a .pt file", "PyTorch", "train")
    from edge_lupi.evaluate.trained import open_trained

    return open_trained(path, task)


def _open_bundle(path: Path, task: str | None) -> Model:
    from edge_lupi.bundle.bundle import Bundle
    from edge_lupi.runtime.compiled_student import CompiledStudent

    bundle = Bundle.load(path)
    student = CompiledStudent(bundle, task)

    def answer(samples: Array, utterance: Utterance | None) -> Answer:
        step = student.utterance(samples)
        return Answer(step.embedding[0], None if step.scores is None else step.scores[0])

    return Model(answer, student.task, origin_of(bundle.manifest.get("training", {}), student.task.name))


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
    verifies = model.task.kind == "verification"
    if verifies and trials is not None:
        return evaluate_trials(model.answer, read_trials(trials, data), model.task.name)
    corpus = corpus_for(model.origin, data, "speaker" if verifies else model.task.name, pattern)
    kept, left = (corpus.utterances, 0) if everyone else unheard(corpus, model.origin)
    if split is not None:
        kept = tuple(u for u in kept if u.split == split)
    if not kept:
        raise InputError(
            f"expected utterances that training has not heard in {data}, got none: pass --all, or another --split"
        )
    if left:
        what = "utterances heard" if model.origin.get("speaker_dependent") else "utterances of speakers heard"
        note(f"{left} {what} in training are left out; --all takes them in")
    if model.origin.get("speaker_dependent"):
        note("speaker dependent: training has heard these voices")
    if verifies:
        pairs = pairs_of(kept)
        note(pairs.text())
        return evaluate_trials(model.answer, pairs.trials, model.task.name)
    return evaluate_classes(
        model.answer,
        kept,
        model.task.labels,
        model.task.name,
        snr_db=snr_db,
        trim_db=model.trim_db,
        temperature=model.task.temperature,
    )


def corpus_for(origin: Mapping[str, Any], data: Path, task: str, pattern: str = "") -> Corpus:
    """The corpus that a model of this origin is measured on; its own training's is read by the pattern that it learnt by."""
    own = origin.get("recipe", {}).get("data", {})
    if not pattern and isinstance(own, Mapping) and origin.get("corpus") == data.resolve().name:
        pattern = str(own.get("pattern", ""))
    if pattern and kind_of(data) == "folder":
        return read_corpus(data, task=task, pattern=pattern)
    known = ("speaker",) if kind_of(data) != "folder" else KINDS[kind_of_corpus(data)].tasks or ("speaker",)
    return read_corpus(data, task=task if task in known else None)


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
    unknown = sorted({u.label for u in utterances} - set(labels))
    if unknown:
        raise InputError(
            f"expected the labels {', '.join(labels)}, got also {', '.join(unknown[:5])}: this model was trained for other classes"
        )
    truth, scores = [], []
    for utterance, found in zip(utterances, answers(answer, utterances, snr_db, trim_db), strict=True):
        if found.scores is None:
            raise InputError(
                f"expected a model with labels, got one that compares voices: pass --trials for task {task}"
            )
        truth.append(index[utterance.label])
        scores.append(found.scores)
    return class_report(task, labels, np.array(truth), probabilities_of(np.stack(scores), temperature))


def class_report(
    task: str,
    labels: Sequence[str],
    truth: NDArray[np.int64],
    probabilities: Array,
    groups: NDArray[Any] | None = None,
) -> ClassReport:
    """The figures of truth [N] and probabilities [N, C]; the interval is over groups [N], as speakers, where they are given."""
    said = probabilities.argmax(1)
    alone = np.arange(len(truth)) if groups is None else groups
    interval = bootstrap(lambda chosen: uar(truth[chosen], said[chosen]), groups=alone)
    matrix = confusion(truth, said, range(len(labels)))
    ece = calibration_error(probabilities, truth)
    return ClassReport(task, interval, accuracy(truth, said), tuple(labels), matrix, ece)


def answers(
    answer: Answerer, utterances: Sequence[Utterance], snr_db: float | None = None, trim_db: float = 0.0
) -> list[Answer]:
    """What a model makes of every utterance, without the silence around it, with white noise at a ratio in dB if one is given."""
    return [answer(*_heard(utterance, snr_db, trim_db)) for utterance in _progress(utterances)]


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
    vectors = np.stack([_unit(answer(read_audio(path), None).embedding) for path in _progress(files)])
    enrol = np.array([place[trial.enrol] for trial in trials])
    scores = (vectors[enrol] * vectors[[place[trial.test] for trial in trials]]).sum(1)
    return scores, np.array([trial.target for trial in trials]), enrol


def trial_report(task: str, scores: Array, targets: NDArray[np.bool_], enrolled: NDArray[Any]) -> TrialReport:
    """The figures of cosines [N] and truth [N]; the interval is over the enrolled recordings [N]."""
    interval = bootstrap(lambda chosen: eer(scores[chosen], targets[chosen]).value, groups=enrolled)
    if (
        interval.value == 0
    ):  # resampling a list without an error shows none: the rule of three (Hanley and Lippman-Hand 1983)
        interval = Interval(0.0, 0.0, max(interval.high, min(1.0, 3 / int(targets.sum()))))
    return TrialReport(task, interval, min_dcf(scores, targets), len(scores), int(targets.sum()))


def unheard(corpus: Corpus, origin: Mapping[str, Any]) -> tuple[tuple[Utterance, ...], int]:
    """Utterances that a model of this origin cannot know, and how many others there are.

    Those of speakers whom training, also that of the student it started from, has not heard; where training and test share voices, those it has not heard itself.
    """
    kept = corpus.utterances
    for training in (origin, *origin.get("started_from", ())):
        if corpus.name in (training.get("corpus"), *training.get("corpora", ())):
            kept = _unheard_in(training, kept)
    return kept, len(corpus.utterances) - len(kept)


def _unheard_in(training: Mapping[str, Any], utterances: tuple[Utterance, ...]) -> tuple[Utterance, ...]:
    if training.get("speaker_dependent"):
        names = set(training.get("training_names", ()))
        return tuple(u for u in utterances if u.name not in names)
    speakers = set(training.get("training_speakers", ()))
    return tuple(u for u in utterances if u.speaker is None or u.speaker not in speakers)


def _heard(utterance: Utterance, snr_db: float | None, trim_db: float) -> tuple[Array, Utterance]:
    samples, spoken = read_speech(utterance, trim_db)
    if snr_db is None:
        return samples, spoken
    noise = np.random.default_rng(zlib.crc32(utterance.name.encode())).standard_normal(len(samples)).astype(np.float32)
    return samples + noise * np.float32(np.sqrt(np.mean(samples**2) * 10 ** (-snr_db / 10))), spoken


def _unit(vector: Array) -> Array:
    return vector / (np.linalg.norm(vector) + 1e-12)


def _percent(interval: Interval) -> str:
    return f"{100 * interval.value:.1f} % (95 %: {100 * interval.low:.1f} to {100 * interval.high:.1f})"


def _progress(items: Sequence[Any]) -> Iterable[Any]:
    if not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, "listening", console=Console(stderr=True), transient=True)
