"""The [voice] section: speaker normalisation, where labels are predicted beside a voice's average so far.

[voice]
prior = 5.0                       # clips that the mean of all voices is worth; 0: no speaker normalisation
most = 8                          # clips of one voice that a training step may know, besides the one that it hears
after = 0.5                       # share of the epochs in which nobody knows anything yet
alone = 0.25                      # share of the rows that know nothing of their voice, from then on
mostly = ["neutral", "calm"]      # of every second row that does, most clips are of these labels: so people speak
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_lupi.errors import InputError

__all__ = ["VoiceRecipe"]

MOST_KNOWN = 64


@dataclass(frozen=True)
class VoiceRecipe:
    """How the student learns to lean on a voice's own average: on one of few clips less than on one of many.

    What a voice was is as an encoder heard it up to an epoch ago, so first the encoder must know roughly what it hears: with
    `after` = 0 a student learnt worse than without (RAVDESS, validation speakers: 50 against 58 % UAR).
    """

    prior: float = 0.0
    most: int = 8
    after: float = 0.5
    alone: float = 0.25
    mostly: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (0 <= self.prior <= 1000 and 1 <= self.most <= MOST_KNOWN):
            raise InputError(
                f"expected voice.prior from 0 to 1000 and voice.most from 1 to {MOST_KNOWN}, got {self.prior} and {self.most}"
            )
        if not (0 <= self.alone < 1 and 0 <= self.after < 1):
            raise InputError(
                f"expected voice.alone and voice.after of at least 0 and below 1, got {self.alone} and {self.after}"
            )
