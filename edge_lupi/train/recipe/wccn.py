"""The [wccn] section: within-class covariance normalisation of a student that compares voices.

[wccn]
shrinkage = 0.6      # towards directions that all count the same; 1: nothing changes
seconds = 3.0        # of a piece of speech
pieces = 5           # of a recording, at most
moods = 2            # in how many other moods each is spoken anew, too, by a vocoder
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_lupi.settings import within

__all__ = ["WccnRecipe"]


@dataclass(frozen=True)
class WccnRecipe:
    """What is heard to find out how one voice varies: pieces of the training voices, in each surrounding of [augment].

    And in `moods` others, which a vocoder makes of them (pyworld).
    """

    shrinkage: float = 0.6
    seconds: float = 3.0
    pieces: int = 5
    moods: int = 0

    def __post_init__(self) -> None:
        within(self, "wccn", shrinkage=(0.01, 1), seconds=(0.5, 60), pieces=(1, 1000), moods=(0, 100))
