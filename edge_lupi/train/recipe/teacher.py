"""The [teacher] section: size, optimisation and video of the network that hears and sees."""

from __future__ import annotations

from dataclasses import dataclass

from edge_lupi.data.video import REGIONS
from edge_lupi.errors import InputError
from edge_lupi.settings import within
from edge_lupi.train.recipe.course import Course

__all__ = ["TeacherRecipe"]


@dataclass(frozen=True)
class TeacherRecipe(Course):
    """The network that hears and sees. `video`: none, features, face or frames; of raw frames `region`: mouth, or whole for a face track.

    With "face" features come from the faces in raw video; with `region` "face" frames are crops of them, the eyes level.
    `face_model` is the .task file that finds them, where it is not that of $EDGE_LUPI_FACE_MODEL. With `shuffle_video` every clip is shown the video of another: the control that must not help.
    """

    size: str = "nano"
    video: str = "none"
    shuffle_video: bool = False
    frame_size: int = 48
    frames_per_second: int = 25
    region: str = "mouth"
    face_model: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.region not in (*REGIONS, "face"):
            raise InputError(f"expected teacher.region among {', '.join(REGIONS)}, face, got {self.region!r}")
        within(self, "teacher", frame_size=(8, 512), frames_per_second=(1, 120))

    def finds_faces(self, video: str) -> bool:
        """Whether faces are looked for where an eye is shown this kind of video."""
        return video == "face" or (video == "frames" and self.region == "face")
