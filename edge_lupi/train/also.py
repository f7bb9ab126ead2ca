"""One [[data.also]] section of a recipe: a corpus that trains beside the recipe's own, by the labels that both have.

[[data.also]]
root = "emodb"                  # labels that the recipe's corpus does not have are left out, and so are their utterances
[[data.also]]
root = "librispeech_excerpts"
label = "neutral"               # all of it is called so
split = "train"                 # of its own splits, this one alone
leave_out = ["1034", "1098"]    # these speakers are kept for tests
share = 0.5                     # of its utterances, drawn by their names
licence = "CC BY 4.0"           # where the corpus itself does not say; it goes into the model card
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from edge_lupi.data.splits import split_name
from edge_lupi.data.utterance import Corpus, Utterance
from edge_lupi.errors import InputError

__all__ = ["AlsoRecipe", "taken"]


@dataclass(frozen=True)
class AlsoRecipe:
    """A corpus of one's own choice beside the first; video that it lacks the teacher does without."""

    root: str
    label: str = ""
    split: str = ""
    leave_out: tuple[str, ...] = ()
    share: float = 1.0
    licence: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError(f"expected data.also.share above 0 and at most 1, got {self.share}")


def taken(recipe: AlsoRecipe, corpus: Corpus, labels: tuple[str, ...]) -> tuple[Utterance, ...]:
    """The utterances of a corpus that train by one of these labels, under names that no other corpus has."""
    if recipe.label and recipe.label not in labels:
        raise InputError(f"expected data.also.label of {', '.join(labels)}, got {recipe.label!r}")
    unknown = sorted(set(recipe.leave_out) - set(corpus.speakers))
    if unknown:
        raise InputError(
            f"expected data.also.leave_out of speakers of {corpus.name}, got also {', '.join(unknown[:5])}: correct the names"
        )
    split = split_name(recipe.split)
    found = tuple(
        replace(u, name=f"{corpus.name}/{u.name}", label=recipe.label or u.label, split=None)
        for u in corpus.utterances
        if (recipe.label or u.label) in labels
        and (not split or (u.split and split_name(u.split)) == split)
        and u.speaker not in recipe.leave_out
        and _drawn(u.name, recipe.share)
    )
    if not found:
        raise InputError(
            f"expected utterances of {corpus.name} to train on beside the recipe's own, got none: its labels are {', '.join(corpus.labels[:8])}"
        )
    return found


def _drawn(name: str, share: float) -> bool:
    """The same utterances whatever the seed."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") < share * (1 << 32)
