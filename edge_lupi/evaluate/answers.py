"""Answers of a model on labelled speech: utterances in, an embedding and scores of each out."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from edge_lupi.bundle.provenance import Provenance
from edge_lupi.data.speech import read_speech
from edge_lupi.data.utterance import Utterance
from edge_lupi.progress import progress
from edge_lupi.task import Task
from edge_lupi.vectors import Array

__all__ = ["Answer", "Answerer", "Model", "answers", "listened", "trim_db_of", "with_noise"]

Item = TypeVar("Item")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """Utterance embedding [D] and, where the task has labels, scores [C]."""

    embedding: Array
    scores: Array | None


Answerer = Callable[[Array, Utterance | None], Answer]  # samples [T] at 16 kHz, and for a teacher the utterance's video


@dataclass(frozen=True)
class Model:
    """Something to measure: how it answers, its task, where it comes from (its `provenance`), and the sha256 of its file."""

    answer: Answerer
    task: Task
    origin: Provenance
    digest: str = ""

    @property
    def trim_db(self) -> float:
        """How far below the loudest the silence was that training left out at the ends; the speech gate does so on the device."""
        return trim_db_of(self.origin)


def trim_db_of(origin: Provenance) -> float:
    """The same of a model with this provenance."""
    return float(origin.section("segments").get("trim_db", 0.0))


def answers(
    answer: Answerer, utterances: Sequence[Utterance], snr_db: float | None = None, trim_db: float = 0.0
) -> list[Answer]:
    """What a model makes of every utterance, without the silence around it, with white noise at a ratio in dB if one is given."""
    return [answer(*_speech(utterance, snr_db, trim_db)) for utterance in listened(utterances)]


def listened(items: Sequence[Item]) -> Iterator[Item]:
    """The items one after another, saying how far it is."""
    for number, item in enumerate(items, 1):
        progress(log, f"listening  {number}/{len(items)}", last=number == len(items), often=True)
        yield item


def _speech(utterance: Utterance, snr_db: float | None, trim_db: float) -> tuple[Array, Utterance]:
    samples, spoken = read_speech(utterance, trim_db)
    return with_noise(samples, utterance.name, snr_db), spoken


def with_noise(samples: Array, name: str, snr_db: float | None) -> Array:
    """Samples [T] with white noise at a ratio in dB, if one is given; by its name a recording has the same noise always."""
    if snr_db is None:
        return samples
    noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(len(samples)).astype(np.float32)
    noisy: Array = samples + noise * np.float32(np.sqrt(np.mean(samples**2) * 10 ** (-snr_db / 10)))
    return noisy
