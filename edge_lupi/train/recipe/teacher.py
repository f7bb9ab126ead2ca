"""The [teacher] section: size, optimisation and video of the network that hears and sees."""

from __future__ import annotations

from dataclasses import dataclass

from edge_lupi.data.sight import Sight
from edge_lupi.frames import Segmentation
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
        self.sight(Segmentation(), self.video)  # checks it

    def sight(self, segmentation: Segmentation, kind: str) -> Sight:
        """What an eye is shown that sees this kind of video."""
        return Sight(kind, segmentation, self.frame_size, self.frames_per_second, self.region, self.face_model)
