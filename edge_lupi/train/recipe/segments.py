"""The [segments] section: how sound is cut into segments, and how much of an utterance a training step hears."""

from __future__ import annotations

from dataclasses import dataclass

from edge_lupi.errors import InputError
from edge_lupi.frames import FRAMES_PER_SECOND, Segmentation
from edge_lupi.settings import within

__all__ = ["SegmentRecipe"]


@dataclass(frozen=True)
class SegmentRecipe:
    """How sound is cut; `crop_seconds` of every utterance are heard in a training step (non-sequential: one segment).

    With `trim_db` silence before and after the speech is left out: all that is so much below the loudest 50 ms (0: none
    is). With `every` = 2 a training step hears every second segment of a crop: where segments overlap by half, each sound once.
    """

    setting: str = "sequential"
    seconds: float = 1.0
    hop_seconds: float = 0.5
    crop_seconds: float = 2.0
    every: int = 1
    trim_db: float = 0.0

    def __post_init__(self) -> None:
        if self.every < 1:
            raise InputError(f"expected segments.every of at least 1, got {self.every}")
        if self.setting not in ("sequential", "non-sequential"):
            raise InputError(f"expected segments.setting sequential or non-sequential, got {self.setting!r}")
        if self.setting == "non-sequential" and self.crop_seconds != self.seconds:
            raise InputError(
                "expected segments.crop_seconds equal to segments.seconds in the non-sequential setting, where the input is one segment"
            )
        if self.crop_seconds < self.seconds:
            raise InputError(
                f"expected segments.crop_seconds of at least one segment ({self.seconds} s), got {self.crop_seconds}"
            )
        within(self, "segments", crop_seconds=(0.1, 600), every=(1, 1000), trim_db=(0, 200))
        _ = self.segmentation  # checks length and hop

    @property
    def segmentation(self) -> Segmentation:
        """Length and hop as the runtime knows them."""
        return Segmentation(self.seconds, self.hop_seconds)

    @property
    def crop_frames(self) -> int:
        """Frames of a crop."""
        return round(self.crop_seconds * FRAMES_PER_SECOND)
