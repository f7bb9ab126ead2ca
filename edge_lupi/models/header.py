"""Classification headers: utterance embedding [B, D] -> scores [B, C]."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ClassHeader", "MarginHeader"]


class ClassHeader(nn.Module):
    """A linear classifier; its scores are log-odds."""

    def __init__(self, size: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, classes)

    def forward(self, embedding: Tensor) -> Tensor:
        """[B, D] -> [B, C]."""
        result: Tensor = self.linear(embedding)
        return result


class MarginHeader(nn.Module):
    """Additive angular margin softmax (Deng et al. 2019, arXiv 1801.07698). Training only: later, voices are compared by cosine."""

    def __init__(self, size: int, classes: int, *, margin: float = 0.2, scale: float = 30.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, size) * 0.05)
        self.margin = margin
        self.scale = scale

    def forward(self, embedding: Tensor, labels: Tensor | None = None) -> Tensor:
        """[B, D] -> scaled cosines [B, C], the true class handicapped by the margin while labels [B] are given."""
        with torch.autocast(embedding.device.type, enabled=False):  # a cosine rounded to 1 has an angle without a slope
            cosine = F.linear(F.normalize(embedding.float()), F.normalize(self.weight)).clamp(-1 + 1e-6, 1 - 1e-6)
        if labels is None or not self.margin:
            return self.scale * cosine
        handicapped = torch.cos(torch.acos(cosine) + self.margin)
        truth = F.one_hot(labels, cosine.shape[1]).bool()
        return self.scale * torch.where(truth, handicapped, cosine)
