"""Corpus and Utterance, what every reader gives: a list of utterances, each with its label, its speaker and, where there is one, its video.

    corpus = read_corpus("ravdess_av")
    corpus.utterances[0].audio      # Path of a sound file that `edge_lupi.sound.audio.read_audio` reads
    corpus.utterances[0].video      # Video(features=(0.07, 0.06, ...)), Video(path=Path("clip.mp4")) or None

Video is privileged: training looks at it, nothing on the device ever does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from edge_lupi.errors import InputError

__all__ = ["Corpus", "Utterance", "Video"]


@dataclass(frozen=True)
class Video:
    """The video beside an utterance: either `features`, one vector for the whole clip, or `path`.

    A path is a video file, whose time is that of the sound, or a `.npy` file with features float [N, V], one row per
    frame at `frames_per_second`.
    """

    features: tuple[float, ...] | None = None
    path: Path | None = None
    frames_per_second: float = 25.0

    def __post_init__(self) -> None:
        if (self.features is None) == (self.path is None):
            raise InputError("expected a video with either features or a path, got both or neither: give one of them")
        if self.features is not None and not (self.features and all(map(math.isfinite, self.features))):
            raise InputError(
                "expected video features that are finite numbers, got none or NaN or infinity: leave the clip out"
            )
        if not 0 < self.frames_per_second <= 1000:
            raise InputError(f"expected more than 0 and at most 1000 frames per second, got {self.frames_per_second}")

    @property
    def is_raw(self) -> bool:
        """Whether it is a video file, to be decoded by `edge_lupi.data.video.read_frames`."""
        return self.path is not None and self.path.suffix.lower() != ".npy"


@dataclass(frozen=True)
class Utterance:
    """A stretch of sound with its label. `speaker` is None where nobody knows who spoke; `split` where nobody said."""

    name: str
    audio: Path
    label: str
    speaker: str | None = None
    video: Video | None = None
    split: str | None = None
    start_seconds: float = 0.0
    end_seconds: float | None = None


@dataclass(frozen=True)
class Corpus:
    """Utterances in a fixed order. `labels` are sorted as the corpus numbers them; a model's class c is `labels[c]`.

    `speaker_dependent` says that training and test hold the same voices, which every figure drawn from it must repeat.
    """

    name: str
    utterances: tuple[Utterance, ...]
    licence: str
    labels: tuple[str, ...]
    root: Path
    speaker_dependent: bool = False

    def __post_init__(self) -> None:
        if not self.utterances:
            raise InputError(f"expected utterances in {self.root}, got none: check the folder")
        unknown = {utterance.label for utterance in self.utterances} - set(self.labels)
        if unknown or len(set(self.labels)) != len(self.labels):
            raise InputError(
                f"expected the labels {', '.join(self.labels)} once each, got also {', '.join(sorted(unknown)) or 'one twice'}"
            )

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def speakers(self) -> tuple[str, ...]:
        """The known speakers, sorted."""
        return tuple(sorted({utterance.speaker for utterance in self.utterances if utterance.speaker is not None}))
