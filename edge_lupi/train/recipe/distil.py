"""The [distil] section: knowledge distillation, by embeddings and by soft labels."""

from __future__ import annotations

from dataclasses import dataclass

from edge_lupi.errors import InputError
from edge_lupi.settings import within

__all__ = ["DistilRecipe"]


@dataclass(frozen=True)
class DistilRecipe:
    """How the student leans on its teachers: on embeddings by `distance`, on `soft` labels at `temperature`; weight 0 is not at all.

    `outputs` = "file.npz:array" names one more teacher by what it says of the training clips: `clip` [N], `classes` [C] and an array
    [N, C], or [folds, N, C] where `data.test` is fold0, fold1 ..., of log-odds or probabilities. It has no embeddings.

    With `part` "audible" or "beyond" the second of two teachers only hears, and of the first's embeddings is taught what it
    can tell, or what it cannot: see `edge_lupi.train.distil.parts`. `fast` weighs what differs between the segments of a crop against
    what they share (Fourier-decoupled distillation, arXiv 2511.19887); 0 leaves it out.
    """

    distance: str = "mse"
    encoder: float = 1.0
    aggregator: float = 1.0
    soft: float = 0.0
    temperature: float = 2.0
    outputs: str = ""
    part: str = "all"
    fast: float = 1.0

    def __post_init__(self) -> None:
        if self.part not in ("all", "audible", "beyond"):
            raise InputError(f"expected distil.part all, audible or beyond, got {self.part!r}")
        if self.fast != 1 and self.distance != "mse":
            raise InputError(f'expected distil.distance = "mse" beside distil.fast, got {self.distance!r}')
        if min(self.encoder, self.aggregator, self.soft) < 0 or self.temperature <= 0:
            raise InputError("expected distil weights of at least 0 and a temperature above 0")
        within(self, "distil", encoder=(0, 1e6), aggregator=(0, 1e6), soft=(0, 1e6), temperature=(1e-3, 1e3))
        within(self, "distil", fast=(0, 1e6))
