"""Pruning by least squares: a layer that does what a larger network's does; no gradients, no labels, a few minutes of sound.

Layer by layer, from the input on, a smaller network is given the weights that bring what it hears closest to what the
larger one's layer makes of the same sound (He, Zhang and Sun 2017, arXiv 1707.06168). Each is a linear regression over
tens of thousands of frames, so it holds for voices that were not among them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_lupi.models.unit import Unit, adds_alone

__all__ = ["chosen", "fit_unit", "hold_norm", "least_squares"]

MOST_ROWS = 120_000


def least_squares(inputs: Tensor, wanted: Tensor, ridge: float = 1e-3) -> tuple[Tensor, Tensor, float]:
    """inputs [N, P], wanted [N, Q] -> weights [Q, P], bias [Q], and the share of the variance that they explain.

    `ridge` is a share of the inputs' mean variance.
    """
    mean_in, mean_out = inputs.mean(0), wanted.mean(0)
    a, b = (inputs - mean_in).double(), (wanted - mean_out).double()
    gram = a.T @ a
    gram += ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    weights = torch.linalg.solve(gram, a.T @ b).T
    left = (b - a @ weights.T).square().sum() / b.square().sum()
    found = weights.float()
    return found, mean_out - found @ mean_in, 1.0 - left.item()


def chosen(activations: Tensor, count: int, weights: Tensor | None = None) -> Tensor:
    """The `count` of C channels that tell most about all: activations [B, C, ...] -> their numbers, rising [count].

    Pivoted Cholesky of the channels' covariance (column subset selection); `weights` [C] say how much each is listened to.
    """
    rows = activations.transpose(0, 1).flatten(1)
    if count >= len(rows):
        return torch.arange(len(rows), device=rows.device)
    rows = rows - rows.mean(1, keepdim=True)
    if weights is not None:
        rows = rows * weights[:, None]
    left = (rows @ rows.T).double()
    taken = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    for _ in range(count):
        best = left.diagonal().masked_fill(taken, -1.0).argmax()
        taken[best] = True
        left = left - torch.outer(left[best], left[best]) / left[best, best].clamp_min(1e-12)
    return taken.nonzero()[:, 0]


@torch.no_grad()
def fit_unit(unit: Unit, inputs: Tensor, wanted: Tensor, ridge: float = 1e-3) -> tuple[Tensor, float]:
    """Give a unit the weights with which it makes `wanted` [B, Q, H', W'], before its ReLU, of inputs [B, C, H, W].

    What it makes of them then, and the share of the variance that was explained.
    """
    conv = unit.conv
    patches = _patches(inputs, conv)
    rows, targets = _some_places(patches, wanted.flatten(2))
    weights, bias, explained = least_squares(rows, targets, ridge)
    conv.weight.copy_(weights.view_as(conv.weight))
    hold_norm(unit.norm, conv(inputs), bias)
    return unit(inputs), explained


def hold_norm(norm: nn.Module, raw: Tensor, bias: Tensor) -> None:
    """Make a batch norm that adds `bias` [Q] to raw [B, Q, ...], and whose statistics are those of `raw`."""
    assert isinstance(norm, nn.BatchNorm2d)
    channels = raw.transpose(0, 1).flatten(1)
    adds_alone(norm, bias, channels.mean(1), channels.var(1, unbiased=False))


def _patches(inputs: Tensor, conv: nn.Conv2d) -> Tensor:
    """What the kernel sees at each place: [B, C * kernel, places]."""
    padding, stride, dilation = conv.padding, conv.stride, conv.dilation
    assert not isinstance(padding, str)
    return F.unfold(inputs, conv.kernel_size, dilation=dilation, padding=padding, stride=stride)


def _some_places(patches: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """[B, P, places] and [B, Q, places] -> at most MOST_ROWS of the places, [N, P] and [N, Q]."""
    batch, _, places = patches.shape
    each = max(1, min(places, MOST_ROWS // batch))
    draw = torch.Generator().manual_seed(1)
    picked = torch.stack([torch.randperm(places, generator=draw)[:each] for _ in range(batch)]).to(patches.device)
    return tuple(  # type: ignore[return-value]
        torch.gather(rows, 2, picked[:, None].expand(-1, rows.shape[1], -1)).transpose(1, 2).flatten(0, 1)
        for rows in (patches, wanted)
    )
