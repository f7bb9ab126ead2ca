"""Worst items of a measurement, and what they sound like: answers in; items with where to listen, and snippets, out."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from edge_lupi.errors import InputError
from edge_lupi.evaluate.answered import ClassAnswers, TrialAnswers
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.sound.audio import read_audio, to_pcm

__all__ = ["Snippet", "WorstTrial", "WorstUtterance", "snippet", "worst_trials", "worst_utterances"]

MOST = 10
SNIPPET_SECONDS = 3.0  # at most 96 kB of samples; as FLAC in base64 about as many letters
STEP_SECONDS = 0.1


@dataclass(frozen=True)
class Snippet:
    """A stretch of a recording, and its sound as a data URI; empty where it cannot be read any more."""

    start_seconds: float
    end_seconds: float
    sound: str


@dataclass(frozen=True)
class WorstUtterance:
    """An utterance's place in the answers, what was said instead of the truth, and how probable both were."""

    place: int
    said: int
    probability: float
    of_truth: float


@dataclass(frozen=True)
class WorstTrial:
    """A trial's place in the answers, its cosine, and by how much it lies on the wrong side of the threshold."""

    place: int
    cosine: float
    wrong_by: float


def worst_utterances(answers: ClassAnswers, most: int = MOST) -> list[WorstUtterance]:
    """Those that are wrong and whose true class was the least probable."""
    said = answers.probabilities.argmax(1)
    of_truth = answers.probabilities[np.arange(len(said)), answers.truth]
    order = [i for i in np.argsort(of_truth, kind="stable").tolist() if said[i] != answers.truth[i]]
    return [
        WorstUtterance(i, int(said[i]), float(answers.probabilities[i].max()), float(of_truth[i])) for i in order[:most]
    ]


def worst_trials(answers: TrialAnswers, threshold: float, most: int = MOST) -> list[WorstTrial]:
    """Those that lie the farthest on the wrong side of a threshold."""
    wrong_by = np.where(answers.targets, threshold - answers.scores, answers.scores - threshold)
    order = [i for i in np.argsort(-wrong_by, kind="stable").tolist() if wrong_by[i] >= 0]
    return [WorstTrial(i, float(answers.scores[i]), float(wrong_by[i])) for i in order[:most]]


def snippet(path: Path, start_seconds: float = 0.0, end_seconds: float | None = None) -> Snippet:
    """The loudest three seconds of a recording, or of a part of it."""
    try:
        samples = read_audio(path, start_seconds=start_seconds, end_seconds=end_seconds)
    except InputError:
        return Snippet(start_seconds, end_seconds or start_seconds, "")
    length, step = round(SNIPPET_SECONDS * SAMPLE_RATE_HZ), round(STEP_SECONDS * SAMPLE_RATE_HZ)
    energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    begins: Sequence[int] = range(0, max(1, len(samples) - length + 1), step)
    first = max(begins, key=lambda begin: energy[min(begin + length, len(samples))] - energy[begin])
    piece = samples[first : first + length]
    start = start_seconds + first / SAMPLE_RATE_HZ
    return Snippet(start, start + len(piece) / SAMPLE_RATE_HZ, _data_uri(piece))


def _data_uri(samples: np.ndarray) -> str:
    """FLAC in base64, loud enough to be heard."""
    peak = float(np.abs(samples).max(initial=0.0))
    louder = samples * np.float32(0.7 / peak) if 0 < peak < 0.7 else samples
    packed = io.BytesIO()
    soundfile.write(packed, to_pcm(louder), SAMPLE_RATE_HZ, format="FLAC")
    return f"data:audio/flac;base64,{base64.b64encode(packed.getvalue()).decode()}"
