"""Utterances to measure on: a corpus as a model learnt to read it, less what its training has heard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_lupi.data.readers.corpora import KINDS, corpus_kind, read_corpus
from edge_lupi.data.utterance import Corpus, Utterance
from edge_lupi.disk import kind_of

__all__ = ["corpus_for", "unheard"]


def corpus_for(origin: Mapping[str, Any], data: Path, task: str, pattern: str = "") -> Corpus:
    """The corpus that a model of this origin is measured on; its own training's is read by the pattern that it learnt by."""
    own = origin.get("recipe", {}).get("data", {})
    if not pattern and isinstance(own, Mapping) and origin.get("corpus") == data.resolve().name:
        pattern = str(own.get("pattern", ""))
    if pattern and kind_of(data) == "folder":
        return read_corpus(data, task=task, pattern=pattern)
    its_tasks = ("speaker",) if kind_of(data) != "folder" else KINDS[corpus_kind(data)].tasks or ("speaker",)
    return read_corpus(data, task=task if task in its_tasks else None)


def unheard(corpus: Corpus, origin: Mapping[str, Any]) -> tuple[tuple[Utterance, ...], int]:
    """Utterances that a model of this origin cannot know, and how many others there are.

    Those of speakers whom training, also that of the student it started from, has not heard; where training and test share voices, those it has not heard itself.
    """
    left = corpus.utterances
    for training in (origin, *origin.get("started_from", ())):
        if corpus.name in (training.get("corpus"), *training.get("corpora", ())):
            left = _unheard_in(training, left)
    return left, len(corpus.utterances) - len(left)


def _unheard_in(training: Mapping[str, Any], utterances: tuple[Utterance, ...]) -> tuple[Utterance, ...]:
    if training.get("speaker_dependent"):
        names = set(training.get("training_names", ()))
        return tuple(u for u in utterances if u.name not in names)
    speakers = set(training.get("training_speakers", ()))
    return tuple(u for u in utterances if u.speaker is None or u.speaker not in speakers)
