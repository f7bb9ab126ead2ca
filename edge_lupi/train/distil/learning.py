"""A student while it learns: margin header, and projections to its teachers' widths, which do not travel with it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from edge_lupi.models.header import MarginHeader
from edge_lupi.models.student import Heard, Student
from edge_lupi.train.distil.losses import Axes, Labels, PretrainedTeacher, Projection, label_loss
from edge_lupi.train.examples.prepared import Prepared
from edge_lupi.train.examples.voices import Voices
from edge_lupi.train.recipe import Recipe

__all__ = ["Learning", "hold_still", "margin_header"]


class Learning(nn.Module):
    """A student with what it needs only while it learns: margin header, and projections to the teacher's width."""

    def __init__(
        self,
        student: Student,
        header: MarginHeader | None,
        teacher_size: int | None,
        recipe: Recipe,
        labelled: float = 1.0,
        teachers: Sequence[PretrainedTeacher] = (),
        axes: tuple[Tensor, Tensor] | None = None,
        voices: Voices | None = None,
    ) -> None:
        super().__init__()
        self.student = student
        self.voices = voices
        self.weight = recipe.student.labels / labelled  # of the labels: not every example has one
        self.smoothing = recipe.student.smoothing
        self.header = header
        size = student.encoder.embedding_size
        project = teacher_size is not None and (teacher_size != size or header is not None)

        def projection(weight: float) -> nn.Module:
            return Projection(size, teacher_size or size) if project and weight else nn.Identity()

        self.to_encoder = Axes(axes[0]) if axes else projection(recipe.distil.encoder)
        self.to_aggregator = Axes(axes[1]) if axes else projection(recipe.distil.aggregator)
        self.by_segment = [teacher.recipe.place == "segment" for teacher in teachers]
        self.ways = nn.ModuleList(
            Projection(size, teacher.width) if teacher.recipe.projection == "learnt" else nn.Identity()
            for teacher in teachers
        )

    def train(self, mode: bool = True) -> Learning:
        """As ever, but what is frozen stays as it is."""
        super().train(mode)
        hold_still(self.student)
        return self

    def forward(
        self, segments: Tensor, labels: Labels, rows: Tensor | None = None, chosen: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None, list[Tensor]]:
        """[B, S, 80, 1, F] -> label loss, E and A in the teacher's width, scores [B, C]; E or A in the width of each of `teachers`.

        With `voices`, which examples the rows are [B], and which others each knows of its voice.
        """
        average = self.student.branch().voice
        if self.voices is None or average is None or rows is None or chosen is None:
            heard: Heard = self.student(segments)
        else:
            heard = self.student(segments, voice=self.voices.of(chosen, average.population))
            average.learn(heard.utterance)
            self.voices.keep(rows, heard.utterance, average.population)
        label = self.weight * label_loss(heard, self.header, labels, self.smoothing)
        imitations = [
            way(heard.segments if by_segment else heard.utterance)
            for way, by_segment in zip(self.ways, self.by_segment, strict=True)
        ]
        return label, self.to_encoder(heard.segments), self.to_aggregator(heard.utterance), heard.scores, imitations


def hold_still(module: nn.Module) -> None:
    """Norms whose weights are frozen keep their means and deviations too, whatever they hear: call it after train()."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d) and not norm.weight.requires_grad:
            norm.eval()


def margin_header(recipe: Recipe, prepared: Prepared, size: int) -> MarginHeader | None:
    """The training header of a verification task; None for classes, whose header stays with the student."""
    if not prepared.task.verifies:
        return None
    return MarginHeader(size, len(prepared.classes) * len(recipe.augment.speeds), margin=recipe.student.margin)
