"""From a recipe to the utterances it trains and tests on, or the shards they were cut into, and the task they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge_lupi import __version__
from edge_lupi.bundle.bundle import Task
from edge_lupi.data.corpora import read_corpus
from edge_lupi.data.place import found_data, places_of
from edge_lupi.data.shards import Shards, are_shards, open_shards
from edge_lupi.data.splits import Split, refuse_shared_speakers, split
from edge_lupi.data.utterance import Corpus, Utterance
from edge_lupi.disk import kind_of
from edge_lupi.errors import InputError
from edge_lupi.train.also import taken
from edge_lupi.train.recipe import Recipe

__all__ = ["VERIFICATION_TASKS", "Prepared", "check_cut", "corpus_of", "cut_settings", "data_path", "prepare"]

VERIFICATION_TASKS = ("speaker",)


@dataclass(frozen=True)
class Prepared:
    """`classes` are what a header learns: the labels, or for verification the training speakers; `licences` are those of
    the unlabelled corpora; `also` the corpora beside the first, each with its licence;
    `strange` those that training hears nothing of, as far as they have the task's labels.

    Where training reads `shards`, corpus and split hold only the few utterances that lie there as sound.
    """

    corpus: Corpus
    split: Split
    task: Task
    classes: tuple[str, ...]
    shards: Shards | None = None
    licences: tuple[str, ...] = ()
    also: tuple[tuple[str, str], ...] = ()
    strange: tuple[tuple[str, tuple[Utterance, ...]], ...] = ()

    @property
    def utterances(self) -> int:
        """How many utterances train by their labels."""
        return self.shards.utterances if self.shards else len(self.split.train)

    @property
    def _licences(self) -> tuple[str, ...]:
        """Of what trains by labels; of several corpora each beside its name."""
        if not self.also:
            return (self.corpus.licence,)
        every = ((self.corpus.name, self.corpus.licence), *self.also)
        return tuple(f"{name}: {licence}" for name, licence in every)

    def _names(self, heard: Sequence[Utterance]) -> list[str]:
        """Where voices are on both sides, only names tell what training has heard."""
        if self.shards:
            return sorted({name.decode() for name in self.shards.names.tolist()} | set(self.shards.validation_names))
        return sorted(u.name for u in heard)

    def _speakers(self, heard: Sequence[Utterance]) -> list[str]:
        """Whom training and its threshold have heard."""
        if self.shards:
            return sorted({*self.shards.speakers, *self.shards.validation_speakers})
        return sorted({u.speaker for u in heard if u.speaker})

    def provenance(self, recipe: Recipe, *, taught: bool = False) -> dict[str, Any]:
        """What a trained file says of its origin, plain values only; a student that was `taught` has heard the unlabelled, too."""
        import torch

        more = self.split.unlabelled if taught else ()
        heard = (*self.split.train, *more, *self.split.validation)
        return {
            "recipe": recipe.plain(),
            "corpus": ", ".join((self.corpus.name, *(name for name, _ in self.also))),
            **({"corpora": [self.corpus.name, *(name for name, _ in self.also)]} if self.also else {}),
            "licence": "; ".join(dict.fromkeys((*self._licences, *(self.licences if taught else ())))),
            "training_utterances": self.utterances + len(more),
            "training_speakers": self._speakers(heard),
            "speaker_dependent": self.split.speaker_dependent,
            "training_names": self._names(heard) if self.split.speaker_dependent else [],
            "edge_lupi": __version__,
            "torch": str(torch.__version__),
        }


def data_path(root: str) -> Path:
    """An absolute path as it is; a relative one from here, or else inside $EDGE_LUPI_DATA."""
    return found_data(root)


def corpus_of(recipe: Recipe) -> Corpus:
    """Read the corpus of a recipe."""
    told = recipe.data
    corpus = read_corpus(_found(recipe, told.root), task=told.task, pattern=told.pattern)
    if not told.licence:
        return corpus
    if not corpus.licence.startswith("unknown"):
        raise InputError(
            f"expected no data.licence for {corpus.name}, whose licence is known ({corpus.licence}), got {told.licence!r}: leave it out"
        )
    return replace(corpus, licence=told.licence)


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
    )
    parts, beside = _with_others(recipe, corpus, parts)
    more = [read_corpus(_found(recipe, root)) for root in recipe.data.unlabelled]
    nameless = tuple(_nameless(one, u) for one in more for u in one.utterances)
    parts = replace(parts, unlabelled=(*parts.unlabelled, *nameless))
    if recipe.data.task in VERIFICATION_TASKS:
        classes = tuple(sorted({utterance.label for utterance in parts.train}))
        task = Task(recipe.data.task, "verification")
    else:
        classes, task = corpus.labels, Task(recipe.data.task, "classification", corpus.labels)
    return Prepared(
        corpus,
        parts,
        task,
        classes,
        licences=tuple(one.licence for one in more),
        also=beside,
        strange=_strange(recipe, corpus, beside),
    )


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
    train, told = parts.train, []
    for one in recipe.data.also:
        other = read_corpus(_found(recipe, one.root), task=None if one.label else recipe.data.task)
        train += taken(one, other, corpus.labels)
        told.append((other.name, one.licence or other.licence))
    if told:
        named = [utterance for utterance in train if utterance.speaker is not None]
        refuse_shared_speakers(named, (*parts.validation, *parts.test), speaker_dependent=parts.speaker_dependent)
    return replace(parts, train=train), tuple(told)


def _nameless(corpus: Corpus, utterance: Utterance) -> Utterance:
    """An utterance of a corpus whose labels and voices do not count here, under a name that no other corpus has."""
    return replace(utterance, name=f"{corpus.name}/{utterance.name}", speaker=None, split=None)


def _from_shards(recipe: Recipe, shards: Shards) -> Prepared:
    if recipe.data.also or recipe.voice.prior:
        raise InputError(
            f"expected a corpus in memory for data.also and voice.prior, got shards in {shards.root}: set data.root to the corpus itself"
        )
    check_cut(recipe, shards)
    dependent = shards.speaker_dependent
    corpus = Corpus(
        shards.corpus, (*shards.train, *shards.validation), shards.licence, shards.labels, shards.root, dependent
    )
    verifies = recipe.data.task in VERIFICATION_TASKS
    kind, labels = ("verification", ()) if verifies else ("classification", shards.labels)
    parts = Split(shards.train, shards.validation, (), dependent)
    return Prepared(corpus, parts, Task(recipe.data.task, kind, labels), shards.classes, shards)


def cut_settings(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe is decided when shards are cut, by key."""
    if recipe.data.labelled_speakers != 1:
        raise InputError(
            f"expected data.labelled_speakers = 1 where a corpus is in shards, got {recipe.data.labelled_speakers}: train from the corpus itself"
        )
    if recipe.data.sound != "log-mel":
        raise InputError(
            f'expected data.sound = "log-mel" where a corpus is in shards, got {recipe.data.sound!r}: train from the corpus itself'
        )
    plain = recipe.plain()
    keys = ["data.task", "data.test", "data.validation_speakers", "data.speaker_dependent", "augment.speeds"]
    keys += [f"segments.{key}" for key in plain["segments"] if key not in ("setting", "every")]
    keys += [f"teacher.{key}" for key in ("video", "frame_size", "frames_per_second", "region")]
    return {key: plain[key.split(".")[0]][key.split(".")[1]] for key in keys}


def check_cut(recipe: Recipe, shards: Shards) -> None:
    """Refuse shards that were cut for another recipe. A recipe that looks at no video may have shards with it."""
    for key, wanted in cut_settings(recipe).items():
        found = shards.settings.get(key)
        if found != wanted and not (key.startswith("teacher.") and recipe.teacher.video == "none"):
            raise InputError(
                f"expected {key} = {found} as the shards in {shards.root} were cut, got {wanted}: change the recipe, or cut them anew"
            )
