"""Data preparation: a recipe -> the utterances it trains and tests on, or the shards they were cut into, and their task."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from edge_lupi.data.place import found_data, places_of
from edge_lupi.data.readers.corpora import read_corpus
from edge_lupi.data.shards import Shards, are_shards, open_shards
from edge_lupi.data.splits import Split, refuse_shared_speakers, split
from edge_lupi.data.utterance import Corpus, Utterance
from edge_lupi.disk import kind_of
from edge_lupi.errors import InputError
from edge_lupi.task import Task, kind_of_task, verifies
from edge_lupi.train.examples.also import taken
from edge_lupi.train.examples.cut_settings import check_cut
from edge_lupi.train.examples.prepared import Prepared, PreparedCorpus, PreparedShards, in_memory_alone
from edge_lupi.train.recipe import Recipe

__all__ = ["Prepared", "corpus_of", "data_path", "prepare"]


log = logging.getLogger(__name__)

THRESHOLD_VOICES = 2  # a threshold lies between what one voice and two voices give
NO_THRESHOLD = (
    "no threshold will be set, as that takes two voices that are kept for validation: raise data.validation_speakers, "
    "or set it later with edge-lupi calibrate"
)


def data_path(root: str) -> Path:
    """An absolute path as it is; a relative one from here, or else inside $EDGE_LUPI_DATA."""
    return found_data(root)


def corpus_of(recipe: Recipe) -> Corpus:
    """Read the corpus of a recipe."""
    data = recipe.data
    corpus = read_corpus(_found(recipe, data.root), task=data.task, pattern=data.pattern)
    if not data.licence:
        return corpus
    if not corpus.licence.startswith("unknown"):
        raise InputError(
            f"expected no data.licence for {corpus.name}, whose licence is known ({corpus.licence}), got {data.licence!r}: leave it out"
        )
    return replace(corpus, licence=data.licence)


def _found(recipe: Recipe, name: str) -> Path:
    root = data_path(name)
    if kind_of(root) == "nothing":
        raise InputError(
            f"expected the corpus of recipe {recipe.name} at {' or '.join(map(str, places_of(name)))}, got nothing there: set EDGE_LUPI_DATA to the folder that holds {name}"
        )
    return root


def prepare(recipe: Recipe) -> Prepared:
    """Read the corpus of a recipe and split it by speaker, or open the shards that were cut of it."""
    root = data_path(recipe.data.root)
    if are_shards(root):
        return _from_shards(recipe, open_shards(root))
    corpus = corpus_of(recipe)
    parts = split(
        corpus,
        recipe.data.test,
        validation_speakers=recipe.data.validation_speakers,
        labelled_speakers=recipe.data.labelled_speakers,
        seed=recipe.seed,
        speaker_dependent=recipe.data.speaker_dependent,
        least_validation=THRESHOLD_VOICES if verifies(recipe.data.task) else 1,
    )
    parts, beside = _with_others(recipe, corpus, parts)
    more = [read_corpus(_found(recipe, root)) for root in recipe.data.unlabelled]
    nameless = tuple(_nameless(one, u) for one in more for u in one.utterances)
    parts = replace(parts, unlabelled=(*parts.unlabelled, *nameless))
    task = _task(recipe, corpus.labels)
    if task.verifies and len({u.label for u in parts.validation}) < THRESHOLD_VOICES:
        log.info(NO_THRESHOLD)
    classes = tuple(sorted({utterance.label for utterance in parts.train})) if task.verifies else corpus.labels
    return PreparedCorpus(
        corpus,
        parts,
        task,
        classes,
        licences=tuple(_licence(one, recipe.data.unlabelled_licence) for one in more),
        also=beside,
        strange=_strange(recipe, corpus, beside),
    )


def _licence(corpus: Corpus, told: str) -> str:
    """What a corpus says of itself, else what the recipe tells of it."""
    return told if told and corpus.licence.startswith("unknown") else corpus.licence


def _strange(
    recipe: Recipe, corpus: Corpus, beside: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, tuple[Utterance, ...]], ...]:
    """Corpora by name, with the utterances whose labels the task has."""
    found = [read_corpus(_found(recipe, root), task=recipe.data.task) for root in recipe.data.strange]
    for one in found:
        if one.name in (corpus.name, *(name for name, _ in beside)):
            raise InputError(f"expected corpora in data.strange that training does not hear, got {one.name}")
        if not set(one.labels) & set(corpus.labels):
            raise InputError(f"expected labels of {corpus.name} in {one.name} of data.strange, got none of them")
    return tuple((one.name, tuple(u for u in one.utterances if u.label in corpus.labels)) for one in found)


def _with_others(recipe: Recipe, corpus: Corpus, parts: Split) -> tuple[Split, tuple[tuple[str, str], ...]]:
    """The split with what trains beside it, and the names and licences of those corpora."""
    train, licences = parts.train, []
    for one in recipe.data.also:
        other = read_corpus(_found(recipe, one.root), task=None if one.label else recipe.data.task)
        train += taken(one, other, corpus.labels)
        licences.append((other.name, one.licence or other.licence))
    if licences:
        named = [utterance for utterance in train if utterance.speaker is not None]
        refuse_shared_speakers(named, (*parts.validation, *parts.test), speaker_dependent=parts.speaker_dependent)
    return replace(parts, train=train), tuple(licences)


def _nameless(corpus: Corpus, utterance: Utterance) -> Utterance:
    """An utterance of a corpus whose labels and voices do not count here, under a name that no other corpus has."""
    return replace(utterance, name=f"{corpus.name}/{utterance.name}", speaker=None, split=None)


def _from_shards(recipe: Recipe, shards: Shards) -> Prepared:
    if recipe.data.also or recipe.voice.prior:
        raise in_memory_alone("data.also and voice.prior", shards.root)
    check_cut(recipe, shards)
    dependent = shards.speaker_dependent
    corpus = Corpus(
        shards.corpus, (*shards.train, *shards.validation), shards.licence, shards.labels, shards.root, dependent
    )
    parts = Split(shards.train, shards.validation, (), dependent)
    return PreparedShards(corpus, parts, _task(recipe, shards.labels), shards.classes, shards)


def _task(recipe: Recipe, labels: tuple[str, ...]) -> Task:
    """Where voices are compared, the corpus's labels are people and none of the task's."""
    name = recipe.data.task
    return Task(name, kind_of_task(name), () if verifies(name) else labels)
