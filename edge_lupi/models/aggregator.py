"""Attentive aggregation of segment embeddings into an utterance embedding, one step at a time. (embedding [B, D], state [B, K]) -> (utterance [B, D], state).

Attentive statistics pooling (Okabe et al. 2018, arXiv 1803.10963) kept as running sums: weights are exp of a bounded
score, so the softmax over all segments needs no maximum and a step costs the same after a second and after a day. The
state holds the mass of weights and the weighted means, not sums, so nothing grows without bound. Steps and the whole
give the same result; an all-zero state is the beginning.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["AttentiveAggregator", "MeanAggregator", "make_aggregator"]

SCORE_BOUND = 5.0  # weights differ at most by exp(10)


class MeanAggregator(nn.Module):
    """The running mean, without parameters: for students trained on whole inputs. State [B, 1 + D]: count, mean."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.state_size = 1 + size

    def step(self, embedding: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One more segment [B, D] -> the utterance so far [B, D], and the new state."""
        count = state[:, :1] + 1
        mean = state[:, 1:] + (embedding - state[:, 1:]) / count
        return mean, torch.cat([count, mean], 1)

    def forward(self, embeddings: Tensor) -> Tensor:
        """All segments [B, S, D] -> the utterance [B, D]."""
        return embeddings.mean(1)


class AttentiveAggregator(nn.Module):
    """Attention-weighted mean and deviation, then a linear layer. State [B, 1 + 2 D]: mass, mean, mean of squares."""

    def __init__(self, size: int, hidden: int = 64) -> None:
        super().__init__()
        self.size = size
        self.state_size = 1 + 2 * size
        self.attend = nn.Sequential(nn.Linear(size, hidden), nn.Tanh(), nn.Linear(hidden, 1))
        self.merge = nn.Linear(2 * size, size)
        with torch.no_grad():  # start as the plain mean
            self.merge.weight.copy_(torch.cat([torch.eye(size), torch.zeros(size, size)], 1))
            self.merge.bias.zero_()

    @torch.no_grad()
    def turn(self, mean: Tensor, matrix: Tensor) -> None:
        """From now on every utterance x [D] is (x - mean) @ matrix; in place, at no cost."""
        self.merge.bias.copy_((self.merge.bias - mean) @ matrix)
        self.merge.weight.copy_(matrix.T @ self.merge.weight)

    def _weight(self, embedding: Tensor) -> Tensor:
        return torch.exp(SCORE_BOUND * torch.tanh(self.attend(embedding) / SCORE_BOUND))

    def _merge(self, mean: Tensor, square: Tensor) -> Tensor:
        deviation = (torch.relu(square - mean.square()) + 1e-5).sqrt()
        result: Tensor = self.merge(torch.cat([mean, deviation], -1))
        return result

    def step(self, embedding: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One more segment [B, D] -> the utterance so far [B, D], and the new state."""
        weight = self._weight(embedding)
        mass = state[:, :1] + weight
        moments = torch.cat([embedding, embedding.square()], 1)
        means = state[:, 1:] + (moments - state[:, 1:]) * (weight / mass)
        utterance = self._merge(means[:, : self.size], means[:, self.size :])
        return utterance, torch.cat([mass, means], 1)

    def forward(self, embeddings: Tensor) -> Tensor:
        """All segments [B, S, D] -> the utterance [B, D]."""
        weights = self._weight(embeddings)
        weights = weights / weights.sum(1, keepdim=True)
        mean, square = (weights * embeddings).sum(1), (weights * embeddings.square()).sum(1)
        return self._merge(mean, square)


def make_aggregator(setting: str, size: int) -> MeanAggregator | AttentiveAggregator:
    """The aggregator of a setting: a mean where the whole input is one segment, attention where it comes in pieces."""
    return AttentiveAggregator(size) if setting == "sequential" else MeanAggregator(size)
