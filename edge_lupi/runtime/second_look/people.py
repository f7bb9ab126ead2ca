"""Known people, for a second look: which labels are names, and whose a cluster's voice is."""

from __future__ import annotations

from dataclasses import dataclass

from edge_lupi.bundle.threshold import Threshold
from edge_lupi.runtime.speakers.gallery import Gallery
from edge_lupi.vectors import Array

__all__ = ["People"]


@dataclass(frozen=True)
class People:
    """Known people, and the cosine that a voice must reach to be theirs."""

    task: str
    threshold: float
    gallery: Gallery | None = None
    of_people: Threshold | None = None

    def known(self, label: str) -> str | None:
        """The label, where it is a known person's name."""
        return label if self.gallery is not None and label in self.gallery.names else None

    def whose(self, voice: Array, seconds: float) -> str | None:
        """Whose unit vector [D] of so many seconds of speech it is, if anybody's."""
        person = self.gallery.match(voice) if self.gallery else None
        level = self.of_people.at(seconds) if self.of_people else self.threshold
        return person[0] if person and person[1] >= level else None
