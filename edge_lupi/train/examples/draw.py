"""Random numbers for this process's rows of a batch: several processes together draw what one draws alone."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Draw"]


class Draw:
    """Uniform and normal numbers for `rows` of a global batch, of which this is process `rank` of `world`."""

    def __init__(self, seed: int, rank: int = 0, world: int = 1) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.rank = rank
        self.world = world

    def uniform(self, rows: int, *shape: int) -> Tensor:
        """In [0, 1), float32 [rows, *shape]."""
        return self._mine(torch.rand(rows * self.world, *shape, generator=self.generator), rows)

    def normal(self, rows: int, *shape: int) -> Tensor:
        """Mean 0, variance 1, float32 [rows, *shape]."""
        return self._mine(torch.randn(rows * self.world, *shape, generator=self.generator), rows)

    def _mine(self, drawn: Tensor, rows: int) -> Tensor:
        return drawn[self.rank * rows : (self.rank + 1) * rows]
