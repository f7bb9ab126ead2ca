"""What a teacher's eye is shown of a video: which kind, how large, how often, of which part of the picture. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from edge_lupi.data.digest import file_digest
from edge_lupi.data.faces import face_model
from edge_lupi.data.video import REGIONS
from edge_lupi.errors import InputError
from edge_lupi.frames import Segmentation
from edge_lupi.settings import within

__all__ = ["Sight"]


@dataclass(frozen=True)
class Sight:
    """`kind` is none, features, face or frames; of raw frames `region` is mouth, whole or face, `frame_size` pixels wide.

    `face_model` is the file of the model that finds faces, where it is not that of $EDGE_LUPI_FACE_MODEL. Raises InputError
    for a region or numbers that no video is read with.
    """

    kind: str
    segmentation: Segmentation = field(default_factory=Segmentation)
    frame_size: int = 48
    frames_per_second: int = 25
    region: str = "mouth"
    face_model: str = ""

    def __post_init__(self) -> None:
        if self.region not in (*REGIONS, "face"):
            raise InputError(f"expected teacher.region among {', '.join(REGIONS)}, face, got {self.region!r}")
        within(self, "teacher", frame_size=(8, 512), frames_per_second=(1, 120))

    @property
    def finds_faces(self) -> bool:
        """Whether faces are looked for."""
        return self.kind == "face" or (self.kind == "frames" and self.region == "face")

    @property
    def segment_frames(self) -> int:
        """Video frames of a segment."""
        return round(self.segmentation.seconds * self.frames_per_second)

    def starts(self, segments: Iterable[int]) -> list[int]:
        """The video frame that each of the segments begins with."""
        return [round(int(s) * self.segmentation.hop_seconds * self.frames_per_second) for s in segments]

    def face_digest(self) -> str | None:
        """The sha256 of the model that finds faces, where any are looked for."""
        return file_digest(face_model(self.face_model)) if self.finds_faces else None
