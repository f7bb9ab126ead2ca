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

from edge_lupi.audio import read_audio
from edge_lupi.bundle import Task
from edge_lupi.confidence import calibration_error, probabilities_of
from edge_lupi.data.corpora import KINDS, read_corpus
from edge_lupi.data.corpora import kind_of as kind_of_corpus
from edge_lupi.data.speech import read_speech
from edge_lupi.data.trials import Trial, missing_files, read_trials
from edge_lupi.data.utterance import Corpus, Utterance
from edge_lupi.disk import kind_of
from edge_lupi.errors import InputError, MissingExtra
from edge_lupi.metrics import Interval, accuracy, bootstrap, confusion, eer, min_dcf, uar
from edge_lupi.terminal import note
from edge_lupi.words import printable

__all__ = [
    "Answer",
    "Answerer",
    "ClassReport",
    "Model",
    "TrialReport",
    "answers",
    "evaluate_classes",
    "evaluate_trials",
    "open_model",
    "report",
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
    from edge_lupi.train.answer import open_trained

    return open_trained(path, task)


def _open_bundle(path: Path, task: str | None) -> Model:
    from edge_lupi.bundle import Bundle
    from edge_lupi.runtime.student import CompiledStudent

    bundle = Bundle.load(path)
    student = CompiledStudent(bundle, task)

    def answer(samples: Array, utterance: Utterance | None) -> Answer:
        step = student.utterance(samples)
        return Answer(step.embedding[0], None if step.scores is None else step.scores[0])

    return Model(answer, student.task, bundle.manifest.get("training", {}))


def report(
    model: Model,
    data: Path,
    trials: Path | None,
    *,
    split: str | None = None,
    everyone: bool = False,
    snr_db: float | None = None,
) -> TrialReport | ClassReport:
    """Measure on a trial list, or on those utterances of a corpus whose speakers training has not heard."""
    if model.task.kind == "verification":
        if trials is None:
            raise InputError(f"expected --trials with a list of `label path path` for task {model.task.name}, got none")
        return evaluate_trials(model.answer, read_trials(trials, data), model.task.name)
    corpus = read_corpus(data, task=None if kind_of(data) == "file" else _task_of(data, model.task.name))
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
    return evaluate_classes(
        model.answer,
        kept,
        model.task.labels,
        model.task.name,
        snr_db=snr_db,
        trim_db=model.trim_db,
        temperature=model.task.temperature,
    )


def _task_of(data: Path, task: str) -> str | None:
    known = KINDS[kind_of_corpus(data)].tasks
    return task if task in known else None


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
    probabilities = probabilities_of(np.stack(scores), temperature)
    t, s = np.array(truth), np.stack(scores).argmax(1)
    ece = calibration_error(probabilities, t)
    interval = bootstrap(lambda chosen: uar(t[chosen], s[chosen]), n=len(t))
    return ClassReport(task, interval, accuracy(t, s), tuple(labels), confusion(t, s, range(len(labels))), ece)


def answers(
    answer: Answerer, utterances: Sequence[Utterance], snr_db: float | None = None, trim_db: float = 0.0
) -> list[Answer]:
    """What a model makes of every utterance, without the silence around it, with white noise at a ratio in dB if one is given."""
    return [answer(*_heard(utterance, snr_db, trim_db)) for utterance in _progress(utterances)]


def evaluate_trials(answer: Answerer, trials: Sequence[Trial], task: str) -> TrialReport:
    """Score every trial by the cosine of two utterance embeddings; every recording is heard once."""
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
    targets = np.array([trial.target for trial in trials])
    interval = bootstrap(lambda chosen: eer(scores[chosen], targets[chosen]).value, groups=enrol)
    if (
        interval.value == 0
    ):  # resampling a list without an error shows none: the rule of three (Hanley and Lippman-Hand 1983)
        interval = Interval(0.0, 0.0, max(interval.high, min(1.0, 3 / int(targets.sum()))))
    return TrialReport(task, interval, min_dcf(scores, targets), len(trials), int(targets.sum()))


def unheard(corpus: Corpus, origin: Mapping[str, Any]) -> tuple[tuple[Utterance, ...], int]:
    """Utterances that a model of this origin cannot know, and how many others there are.

    Those of speakers whom training has not heard; where training and test share voices, those it has not heard itself.
    """
    if corpus.name not in (origin.get("corpus"), *origin.get("corpora", ())):
        return corpus.utterances, 0
    if origin.get("speaker_dependent"):
        names = set(origin.get("training_names", ()))
        kept = tuple(u for u in corpus.utterances if u.name not in names)
    else:
        speakers = set(origin.get("training_speakers", ()))
        kept = tuple(u for u in corpus.utterances if u.speaker is None or u.speaker not in speakers)
    return kept, len(corpus.utterances) - len(kept)


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
