"""Data-parallel training that gives the losses of one process: batch norm and dropout over the global batch.

`torchrun --nnodes M --nproc-per-node N` gives the losses of one process at the same global batch, to rounding. PyTorch's
own SyncBatchNorm wants a GPU; this one does with any backend.
"""

from __future__ import annotations

import torch
import torch.distributed as distributed
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.distributed.nn import functional as shared

from edge_lupi.errors import InputError

__all__ = ["act_as_one", "check_agreement"]


def check_agreement(fabric: Fabric, epoch: int, fingerprint: str) -> None:
    """Raise InputError, in every process, unless all are about to train the same from the same epoch on.

    `fingerprint` is the hexadecimal digest of recipe and data. They differ where machines do not share a disk.
    """
    mine = torch.tensor([epoch, int(fingerprint[:12], 16)], device=fabric.device)
    epochs, digests = fabric.all_gather(mine).reshape(-1, 2).T.tolist()
    if len(set(digests)) > 1:
        raise InputError(
            "expected the same recipe and recordings on every machine, got different ones: copy them there"
        )
    if len(set(epochs)) > 1:
        raise InputError(
            f"expected a checkpoint that every machine sees, got epochs {min(epochs)} and {max(epochs)}: give all a folder on one shared disk, or start afresh",
            options=("out", "fresh"),
        )


def act_as_one(module: nn.Module) -> None:
    """Replace every batch norm and dropout inside, in place. Parameters, buffers and their names stay."""
    for name, child in module.named_children():
        if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d)):
            setattr(module, name, _adopt(child))
        elif isinstance(child, nn.Dropout):
            setattr(module, name, SharedDropout(child.p))
        else:
            act_as_one(child)


def _adopt(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.Module:
    kind = SharedBatchNorm1d if isinstance(norm, nn.BatchNorm1d) else SharedBatchNorm2d
    fresh = kind(norm.num_features, norm.eps, norm.momentum)
    for name, parameter in norm.named_parameters():
        setattr(fresh, name, parameter)
    for name, buffer in norm.named_buffers():
        setattr(fresh, name, buffer)
    return fresh.train(norm.training)


def _normalise(norm: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Batch norm [B, C, ...] with mean and variance over the rows of all processes."""
    dims = [0, *range(2, x.ndim)]
    world = distributed.get_world_size()
    shape = (1, -1, *[1] * (x.ndim - 2))
    mean: Tensor = shared.all_reduce(x.mean(dims)) / world  # type: ignore[no-untyped-call]
    centred = x - mean.reshape(shape)
    variance: Tensor = shared.all_reduce(centred.square().mean(dims)) / world  # type: ignore[no-untyped-call]
    count = world * x.numel() // x.shape[1]
    with torch.no_grad():
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked += 1
        share = norm.momentum or 0.1
        norm.running_mean.lerp_(mean, share)
        norm.running_var.lerp_(variance * count / max(count - 1, 1), share)
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    return centred * scale.reshape(shape) + norm.bias.reshape(shape)


class SharedBatchNorm1d(nn.BatchNorm1d):
    """Over the global batch while training."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C] or [B, C, L] -> the same."""
        return _normalise(self, x) if self.training else super().forward(x)


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Over the global batch while training."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same."""
        return _normalise(self, x) if self.training else super().forward(x)


class SharedDropout(nn.Dropout):
    """This process's rows of the global batch's dropout."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, ...] -> the same."""
        if not self.training or not self.p:
            return x
        world, rank, rows = distributed.get_world_size(), distributed.get_rank(), len(x)
        # bernoulli_, not rand: so nn.Dropout draws on a CPU
        kept = torch.empty(world * rows, *x.shape[1:], device=x.device).bernoulli_(1 - self.p)
        return x * kept[rank * rows : (rank + 1) * rows] / (1 - self.p)
