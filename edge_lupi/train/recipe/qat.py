"""The [qat] section: quantisation-aware fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_lupi.errors import InputError
from edge_lupi.settings import within
from edge_lupi.train.recipe.course import Course

__all__ = ["QatRecipe"]


@dataclass(frozen=True)
class QatRecipe(Course):
    """Fine-tuning on the int8 grid, held to the float student's embeddings (and the teacher's, where there is one).

    With 0 epochs ranges are found and nothing is tuned. A range is `headroom` times the largest magnitude that was heard: a
    grid beyond which nothing goes tells the same however a target writes it (where a tensor cannot be negative, unsigned
    targets clip twice as high as signed ones), and a narrow one rounds less. Ranges that cut off the highest 0.005 % were
    nearer to the float student on average (cosine .9996 against .9994 on unheard voices), and far off where they clipped
    (worst .971 against .997).
    """

    epochs: int = 4
    rate: float = 2e-4
    hold: float = 10.0
    headroom: float = 1.15

    FEWEST: ClassVar[int] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.1 <= self.headroom <= 10:
            raise InputError(f"expected qat.headroom between 0.1 and 10, got {self.headroom}")
        if self.precision != "float32":
            raise InputError(
                f"expected qat.precision float32, got {self.precision!r}: bfloat16 is coarser than the grid"
            )
        within(self, "qat", hold=(0, 1e6))
