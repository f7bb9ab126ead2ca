"""Further training corpora: the utterances of a [[data.also]] section's corpus that share the task's labels."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from edge_lupi.data.splits import split_name
from edge_lupi.data.utterance import Corpus, Utterance
from edge_lupi.errors import InputError
from edge_lupi.train.recipe.also import AlsoRecipe

__all__ = ["taken"]


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
