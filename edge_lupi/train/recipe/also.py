"""One [[data.also]] section: a corpus that trains beside the recipe's own, by the labels that both have.

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

from dataclasses import dataclass

from edge_lupi.errors import InputError

__all__ = ["AlsoRecipe"]


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
