"""Training batches: crops of several utterances, perhaps mixed in pairs. log-mel [B, 80, 1, F], labels [B]."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Batch", "Crops", "blend"]


@dataclass(frozen=True)
class Crops:
    """Which crops make a batch: examples, and the segment that each begins with; those to mix in, and shares [B] as in a Batch."""

    examples: tuple[int, ...]
    firsts: tuple[int, ...]
    partner: Crops | None = None
    share: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Batch:
    """Crops: log-mel [B, 80, 1, F]; labels [B]; which examples and from which segment on; video [B, S, ...].

    Where crops are drawn from samples, `clean` [B, T] are their samples before anything happened to them, as teachers hear them.
    Where crops are mixed, `partner` is the batch of the others and `share` [B], at least one half, the part of the first.
    """

    frames: Tensor
    labels: Tensor
    examples: tuple[int, ...]
    firsts: tuple[int, ...]
    video: Tensor | None
    partner: Batch | None = None
    share: Tensor | None = None
    clean: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return replace(
            self,
            frames=self.frames.to(device),
            labels=self.labels.to(device),
            video=None if self.video is None else self.video.to(device),
            partner=None if self.partner is None else self.partner.to(device),
            share=None if self.share is None else self.share.to(device),
            clean=None if self.clean is None else self.clean.to(device),
        )

    def mixed(self) -> Batch:
        """Frames and video blended with the partner's (Zhang et al. 2018, mixup, arXiv 1710.09412); labels stay two."""
        if self.partner is None or self.share is None:
            return self
        video = self.video
        if video is not None and self.partner.video is not None:
            video = blend(video, self.partner.video, self.share)
        return replace(self, frames=blend(self.frames, self.partner.frames, self.share), video=video)


def blend(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """share [B] of the first and the rest of the second, both [B, ...]."""
    weight = share.reshape(-1, *[1] * (first.ndim - 1))
    return weight * first + (1 - weight) * second
