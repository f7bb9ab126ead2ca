"""Optimisation: epochs, batch, learning rate and weight decay, as teacher, student and fine-tuning share them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_lupi.errors import InputError
from edge_lupi.settings import within

__all__ = ["Course"]


PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Course:
    """How long and how fast to learn: AdamW, linear warm-up over the first tenth, then a cosine to zero.

    With `precision` "bfloat16" convolutions and products are computed in it, weights and sums kept in float32: two to three
    times as fast on a GPU, or a CPU with AMX (`amx_bf16` in /proc/cpuinfo); slower on one without.
    """

    epochs: int = 30
    batch: int = 32
    rate: float = 2e-3
    weight_decay: float = 0.02
    precision: str = "float32"

    FEWEST: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.epochs < self.FEWEST or self.batch < 2 or not 0 < self.rate <= 1:
            raise InputError(
                f"expected epochs >= {self.FEWEST}, batch >= 2 and 0 < rate <= 1, got {self.epochs}, {self.batch}, {self.rate}"
            )
        name = type(self).__name__.removesuffix("Recipe").lower()
        if self.precision not in PRECISIONS:
            raise InputError(f"expected {name}.precision {' or '.join(PRECISIONS)}, got {self.precision!r}")
        within(self, name, epochs=(self.FEWEST, 1_000_000), batch=(2, 1_000_000), weight_decay=(0, 1))
