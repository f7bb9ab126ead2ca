"""Utterances to measure on: a corpus as a model learnt to read it, less what its training has heard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_lupi.bundle.provenance import Provenance
from edge_lupi.data.readers.corpora import KINDS, corpus_kind, read_corpus
from edge_lupi.data.utterance import Corpus, Utterance
from edge_lupi.disk import kind_of

__all__ = ["corpus_for", "heard_voices", "unheard"]


def corpus_for(origin: Provenance, data: Path, task: str, pattern: str = "") -> Corpus:
    """The corpus that a model of this origin is measured on; its own training's is read by the pattern that it learnt by."""
    if not pattern and origin.corpus == data.resolve().name:
        pattern = str(origin.section("data").get("pattern", ""))
    if pattern and kind_of(data) == "folder":
        return read_corpus(data, task=task, pattern=pattern)
    its_tasks = ("speaker",) if kind_of(data) != "folder" else KINDS[corpus_kind(data)].tasks or ("speaker",)
    return read_corpus(data, task=task if task in its_tasks else None)


def unheard(corpus: Corpus, origin: Provenance) -> tuple[tuple[Utterance, ...], int]:
    """Utterances that a model of this origin cannot know, and how many others there are.

    Those of speakers whom training, also that of the student it started from, has not heard; where training and test share voices, those it has not heard itself.
    """
    kept = corpus.utterances
    for training in origin.trainings:
        if corpus.name in (training.corpus, *(training.corpora or ())):
            kept = _unheard_in(training, kept)
    return kept, len(corpus.utterances) - len(kept)


def heard_voices(corpus: str, utterances: Sequence[Utterance], origin: Provenance) -> int:
    """How many of the speakers of these utterances a model of this origin has heard in training."""
    speakers = {u.speaker for u in utterances} - {None}
    left = set(speakers)
    for training in origin.trainings:
        if corpus in (training.corpus, *(training.corpora or ())):
            left -= set(training.training_speakers or ())
    return len(speakers) - len(left)


def _unheard_in(training: Provenance, utterances: tuple[Utterance, ...]) -> tuple[Utterance, ...]:
    if training.speaker_dependent:
        names = set(training.training_names or ())
        return tuple(u for u in utterances if u.name not in names)
    speakers = set(training.training_speakers or ())
    return tuple(u for u in utterances if u.speaker is None or u.speaker not in speakers)
