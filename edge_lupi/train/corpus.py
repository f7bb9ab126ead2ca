"""From a recipe to the utterances it trains and tests on, and the task they make."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_lupi import __version__
from edge_lupi.bundle import Task
from edge_lupi.data.corpora import read_corpus
from edge_lupi.data.splits import Split, split
from edge_lupi.data.utterance import Corpus
from edge_lupi.errors import InputError
from edge_lupi.train.recipe import Recipe

__all__ = ["VERIFICATION_TASKS", "Prepared", "data_path", "prepare"]

VERIFICATION_TASKS = ("speaker",)


@dataclass(frozen=True)
class Prepared:
    """`classes` are what a header learns: the labels, or for verification the training speakers."""

    corpus: Corpus
    split: Split
    task: Task
    classes: tuple[str, ...]

    def _names(self) -> list[str]:
        """Where voices are on both sides, only names tell what training has heard."""
        return sorted(u.name for u in (*self.split.train, *self.split.validation))

    def provenance(self, recipe: Recipe) -> dict[str, Any]:
        """What a trained file says of its origin: plain values only."""
        import torch

        return {
            "recipe": recipe.plain(),
            "corpus": self.corpus.name,
            "licence": self.corpus.licence,
            "training_utterances": len(self.split.train),
            "training_speakers": sorted({u.speaker for u in (*self.split.train, *self.split.validation) if u.speaker}),
            "speaker_dependent": self.split.speaker_dependent,
            "training_names": self._names() if self.split.speaker_dependent else [],
            "edge_lupi": __version__,
            "torch": str(torch.__version__),
        }


def data_path(root: str) -> Path:
    """An absolute path as it is; a relative one inside $EDGE_LUPI_DATA where that is set, else from here."""
    base = os.environ.get("EDGE_LUPI_DATA")
    return Path(base) / root if base and not Path(root).is_absolute() else Path(root)


def prepare(recipe: Recipe) -> Prepared:
    """Read the corpus of a recipe and split it by speaker."""
    root = data_path(recipe.data.root)
    if not root.exists():
        raise InputError(
            f"expected the corpus of recipe {recipe.name} at {root}, got nothing there: set EDGE_LUPI_DATA to the folder that holds {recipe.data.root}"
        )
    corpus = read_corpus(root, task=recipe.data.task)
    parts = split(
        corpus,
        recipe.data.test,
        validation_speakers=recipe.data.validation_speakers,
        seed=recipe.seed,
        speaker_dependent=recipe.data.speaker_dependent,
    )
    if recipe.data.task in VERIFICATION_TASKS:
        classes = tuple(sorted({utterance.label for utterance in parts.train}))
        return Prepared(corpus, parts, Task(recipe.data.task, "verification"), classes)
    return Prepared(corpus, parts, Task(recipe.data.task, "classification", corpus.labels), corpus.labels)
