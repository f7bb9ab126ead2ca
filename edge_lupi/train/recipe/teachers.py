"""One [[teachers]] section: a pretrained teacher, what it hears, and how much it weighs.

[[teachers]]
path = "runs/campplus.onnx"     # or a teacher.pt of this project, or a table.npz made elsewhere
front_end = "kaldi-fbank"       # what the .onnx takes: kaldi-fbank [B, F, 80], log-mel [B, 80, 1, F] or raw [B, T]
place = "utterance"             # its vectors teach the aggregator; with "segment" the encoder
weight = 1.0
projection = "axes"
relations = 1.0
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_lupi.errors import InputError

__all__ = ["FRONT_ENDS", "KINDS", "PretrainedTeacherRecipe"]

KINDS = (".pt", ".onnx", ".npz")
FRONT_ENDS = ("kaldi-fbank", "log-mel", "raw")
LONGEST_SECONDS = 60.0


@dataclass(frozen=True)
class PretrainedTeacherRecipe:
    """A teacher that hears the clean sound, the whole utterance or `hears_seconds` around each segment (0: the segment alone).

    With data.sound = "samples" it is asked for every crop, and hears that or `hears_seconds` around it; of a table, an
    utterance's vector stands for all crops of it, which must then be as they were said, at speed 1.

    With projection "axes" the student's own vector is held to the teacher's main axes, so cosines between voices become
    the teacher's; with "learnt" a linear layer stands between, which is thrown away. `relations` weighs the squared
    difference between the cosines that rows of a batch have among each other (Park et al. 2019, arXiv 1904.05068).
    """

    path: str
    front_end: str = "kaldi-fbank"
    place: str = "utterance"
    weight: float = 1.0
    distance: str = "cosine"
    projection: str = "axes"
    relations: float = 0.0
    hears_seconds: float = 0.0

    def __post_init__(self) -> None:
        for name, found, known in (
            ("path", Path(self.path).suffix, KINDS),
            ("front_end", self.front_end, FRONT_ENDS),
            ("place", self.place, ("utterance", "segment")),
            ("distance", self.distance, ("mse", "cosine", "margin")),
            ("projection", self.projection, ("axes", "learnt")),
        ):
            if found not in known:
                what = "that ends in" if name == "path" else "of"
                raise InputError(f"expected teachers.{name} {what} {', '.join(known)}, got {getattr(self, name)!r}")
        if not (self.weight >= 0 and self.relations >= 0 and self.weight + self.relations > 0):
            raise InputError(
                f"expected teachers.weight and teachers.relations of at least 0, one of them above, got {self.weight} and {self.relations}"
            )
        if not 0 <= self.hears_seconds <= LONGEST_SECONDS:
            raise InputError(
                f"expected teachers.hears_seconds from 0 to {LONGEST_SECONDS:.0f}, got {self.hears_seconds}"
            )
