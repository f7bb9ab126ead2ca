"""Prepared training data: a corpus in memory, or shards on disk. One protocol that the stages use, two classes.

prepared.examples(recipe)             # Sequence[Example]: log-mel, labels, and video if asked for
prepared.provenance(recipe)           # corpus, licence and voices heard, for the trained file
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch

from edge_lupi import __version__
from edge_lupi.bundle.provenance import Provenance
from edge_lupi.data.digest import digest_of
from edge_lupi.data.shards import Shards
from edge_lupi.data.splits import Split, told_of
from edge_lupi.data.utterance import Corpus, Utterance
from edge_lupi.errors import InputError
from edge_lupi.task import Task
from edge_lupi.train.examples.clips import UNLABELLED, Example, load_examples, shuffled
from edge_lupi.train.examples.shard_examples import ShardExamples
from edge_lupi.train.recipe import Recipe

__all__ = ["Prepared", "PreparedCorpus", "PreparedShards", "in_memory_alone"]

Strange = tuple[tuple[str, tuple[Utterance, ...]], ...]


class Prepared(Protocol):
    """`classes` are what a header learns: the labels, or for verification the training speakers.

    `strange` are corpora by name that training hears nothing of, as far as they have the task's labels.
    """

    @property
    def corpus(self) -> Corpus:
        """The recipe's corpus; of shards the few utterances that lie there as sound."""

    @property
    def split(self) -> Split:
        """Who trains, validates and tests."""

    @property
    def task(self) -> Task:
        """What the student answers."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class c of the training header is `classes[c]`."""

    @property
    def strange(self) -> Strange:
        """Corpora that only set how sure a student is."""

    @property
    def utterances(self) -> int:
        """How many utterances train by their labels."""

    @property
    def digest(self) -> str:
        """sha256 of what is learnt from: utterances in their order, and the classes that labels are numbered by."""

    @property
    def summary(self) -> str | None:
        """The split in a sentence; None where it was made, and told, elsewhere."""

    def examples(self, recipe: Recipe, video: str = "none", *, unlabelled: bool = False) -> Sequence[Example]:
        """Training examples with the video that an eye is shown: their own or, for the control, another's."""

    def without_video(self, recipe: Recipe, examples: Sequence[Example]) -> Sequence[Example]:
        """These examples as a student hears them."""

    def in_memory(self, what: str) -> PreparedCorpus:
        """Itself, where it is a corpus in memory; else InputError, which says `what` needs one."""

    def provenance(self, recipe: Recipe, *, taught: bool = False) -> Provenance:
        """Corpus, licence and voices heard; a student that was `taught` has heard the unlabelled, too."""


def in_memory_alone(what: str, root: Path) -> InputError:
    """The error where shards cannot do what a corpus in memory can."""
    return InputError(
        f"expected a corpus in memory for {what}, got shards in {root}: set data.root to the corpus itself"
    )


@dataclass(frozen=True)
class PreparedCorpus:
    """Utterances read into memory. `licences` are those of the unlabelled corpora; `also` the further ones, with theirs."""

    corpus: Corpus
    split: Split
    task: Task
    classes: tuple[str, ...]
    licences: tuple[str, ...] = ()
    also: tuple[tuple[str, str], ...] = ()
    strange: Strange = ()

    @property
    def utterances(self) -> int:
        """How many train by their labels."""
        return len(self.split.train)

    @property
    def digest(self) -> str:
        """sha256 of utterances and classes."""
        return digest_of([*self.split.train, *self.split.unlabelled], self.classes)

    @property
    def summary(self) -> str | None:
        """The split in a sentence."""
        return told_of(self.corpus, self.split)

    def examples(self, recipe: Recipe, video: str = "none", *, unlabelled: bool = False) -> list[Example]:
        """Read now; of those without a label, what they would have been called is forgotten here."""
        found = self._seen(self.split.train, recipe, video)
        if not unlabelled:
            return found
        anonymous = [replace(utterance, label=self.classes[0]) for utterance in self.split.unlabelled]
        return [*found, *(replace(example, label=UNLABELLED) for example in self._seen(anonymous, recipe, video))]

    def _seen(self, utterances: Sequence[Utterance], recipe: Recipe, video: str) -> list[Example]:
        examples = load_examples(utterances, self.classes, recipe, video=video)
        return shuffled(examples, recipe.seed) if recipe.teacher.shuffle_video else examples

    def without_video(self, recipe: Recipe, examples: Sequence[Example]) -> list[Example]:
        """The same, and the memory of their video is free again."""
        return [replace(example, video=None) for example in examples]

    def in_memory(self, what: str) -> PreparedCorpus:
        """Itself."""
        return self

    def provenance(self, recipe: Recipe, *, taught: bool = False) -> Provenance:
        """Of several corpora each licence stands beside its corpus's name."""
        more = self.split.unlabelled if taught else ()
        heard = (*self.split.train, *more, *self.split.validation)
        every = ((self.corpus.name, self.corpus.licence), *self.also)
        own = [f"{name}: {licence}" for name, licence in every] if self.also else [self.corpus.licence]
        return _provenance(
            self,
            recipe,
            corpora=[name for name, _ in every],
            licences=[*own, *(self.licences if taught else ())],
            utterances=self.utterances + len(more),
            speakers={u.speaker for u in heard if u.speaker},
            names=[u.name for u in heard],
        )


@dataclass(frozen=True)
class PreparedShards:
    """Shards on disk, read when they are asked for; corpus and split hold only what lies there as sound."""

    corpus: Corpus
    split: Split
    task: Task
    classes: tuple[str, ...]
    shards: Shards

    strange: Strange = ()

    @property
    def utterances(self) -> int:
        """How many were cut."""
        return self.shards.utterances

    @property
    def digest(self) -> str:
        """That of what was cut."""
        return self.shards.digest

    @property
    def summary(self) -> str | None:
        """Nothing: the split was told when the shards were cut."""
        return None

    def examples(self, recipe: Recipe, video: str = "none", *, unlabelled: bool = False) -> ShardExamples:
        """All that was cut; shards hold nothing unlabelled."""
        return ShardExamples(self.shards, recipe, video)

    def without_video(self, recipe: Recipe, examples: Sequence[Example]) -> ShardExamples:
        """The same rows, their video not read."""
        return ShardExamples(self.shards, recipe)

    def in_memory(self, what: str) -> PreparedCorpus:
        """Not so."""
        raise in_memory_alone(what, self.shards.root)

    def provenance(self, recipe: Recipe, *, taught: bool = False) -> Provenance:
        """By the index of the shards."""
        return _provenance(
            self,
            recipe,
            corpora=[self.corpus.name],
            licences=[self.corpus.licence],
            utterances=self.utterances,
            speakers={*self.shards.speakers, *self.shards.validation_speakers},
            names={name.decode() for name in self.shards.names.tolist()} | set(self.shards.validation_names),
        )


def _provenance(
    prepared: Prepared,
    recipe: Recipe,
    *,
    corpora: Sequence[str],
    licences: Iterable[str],
    utterances: int,
    speakers: Iterable[str],
    names: Iterable[str],
) -> Provenance:
    """Where voices are on both sides, only names tell what training has heard."""
    dependent = prepared.split.speaker_dependent
    return Provenance(
        recipe=recipe.plain(),
        corpus=", ".join(corpora),
        corpora=tuple(corpora) if len(corpora) > 1 else None,
        licence="; ".join(dict.fromkeys(licences)),
        training_utterances=utterances,
        training_speakers=tuple(sorted(speakers)),
        speaker_dependent=dependent,
        training_names=tuple(sorted(names)) if dependent else (),
        edge_lupi=__version__,
        torch=str(torch.__version__),
    )
