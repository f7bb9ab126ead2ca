"""The [data] section: corpora, the split by speaker, and how sound is kept."""

from __future__ import annotations

from dataclasses import dataclass

from edge_lupi.data.pattern import Pattern
from edge_lupi.errors import InputError
from edge_lupi.settings import within
from edge_lupi.train.recipe.also import AlsoRecipe

__all__ = ["DataRecipe"]

SOUNDS = ("log-mel", "samples")


@dataclass(frozen=True)
class DataRecipe:
    """Where the corpus lies (`root`: here, or inside $EDGE_LUPI_DATA), what is learnt, who is held out.

    Of a folder of one's own `pattern` says how its files are called ("{speaker}/{label}/*", see `edge_lupi.data.pattern`), and
    `licence` what may be done with what is learnt from it.

    `test` is a fold or split of the corpus, a share of its speakers or their names; `validation_speakers` a share of the
    training speakers. Of the rest a share of `labelled_speakers` are learnt from with their labels: what the others say and
    show, a student learns from its teacher alone; so of whole corpora named in `unlabelled`, whose voices nobody knows: none
    of them may be one that is tested (`unlabelled_licence` is that of those which do not tell theirs). Those in `also` train by their labels, and hold nobody out.
    Nothing is learnt of those in `strange` but how sure to be of people and languages that training has not heard.

    `sound` is kept as "log-mel", disturbed as such, or as "samples": then every crop begins at any sample, at a speed of its
    own, is disturbed on the waveform, and teachers hear that very crop. An epoch hears as many crops of an utterance as fit
    into it, `rounds` times.
    """

    root: str
    task: str
    test: str | float | tuple[str, ...]
    validation_speakers: float = 0.0
    labelled_speakers: float = 1.0
    speaker_dependent: bool = False
    unlabelled: tuple[str, ...] = ()
    sound: str = "log-mel"
    rounds: int = 1
    also: tuple[AlsoRecipe, ...] = ()
    strange: tuple[str, ...] = ()
    pattern: str = ""
    licence: str = ""
    unlabelled_licence: str = ""

    def __post_init__(self) -> None:
        if self.pattern:
            Pattern(self.pattern)  # checks it
        if self.sound not in SOUNDS:
            raise InputError(f"expected data.sound {' or '.join(SOUNDS)}, got {self.sound!r}")
        within(self, "data", rounds=(1, 10_000))
        if not 0 < self.labelled_speakers <= 1:
            raise InputError(f"expected data.labelled_speakers above 0 and at most 1, got {self.labelled_speakers}")
        within(self, "data", validation_speakers=(0, 1))
