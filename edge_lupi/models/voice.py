"""Speaker normalisation by a running mean: how a voice differs from what it was so far. utterance [B, D], voice [B, 1 + D] -> [B, D].

Anger in a loud voice is louder still; an emotion is told from how somebody speaks beside how they usually do. `voice` is
carried state: in how many clips the voice was heard, and the mean of their utterance embeddings. As the mean of a few clips is
noise, it is shrunk towards the mean of all voices of training, which is worth `prior` clips. An all-zero voice is one that
nobody has heard yet.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["VoiceAverage"]

MOMENTUM = 0.1  # of the mean over all voices, per batch, as of batch norm: an encoder that learns moves it


class VoiceAverage(nn.Module):
    """The mean of all voices [D], learnt as batch norm learns its mean, and what a voice's own mean is worth beside it."""

    population: Tensor

    def __init__(self, size: int, prior: float) -> None:
        super().__init__()
        self.prior = prior
        self.state_size = 1 + size
        self.register_buffer("population", torch.zeros(size))

    def relative(self, utterance: Tensor, voice: Tensor | None = None) -> Tensor:
        """An utterance [B, D] less what its voice was so far; without `voice` less the mean of all voices."""
        if voice is None:
            return utterance - self.population
        clips, mean = voice[:, :1], voice[:, 1:]
        share = clips / (clips + self.prior)
        return utterance - (self.population + share * (mean - self.population))

    @torch.no_grad()
    def learn(self, utterances: Tensor) -> None:
        """One more batch [B, D] of all voices."""
        self.population.lerp_(utterances.mean(0).to(self.population.dtype), MOMENTUM)
