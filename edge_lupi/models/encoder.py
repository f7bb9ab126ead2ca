"""The segment encoder: a 2-D residual network. log-mel float32 [B, 80, 1, F] -> embedding float32 [B, D].

Convolutions are 2-D throughout (TensorRT refuses int8 in 1-D) and batch norms fold into them. Every tensor that an int8
convolution reads comes from a ReLU or a pooling of one, so within its range it fits in 7 bits: on x86 without VNNI the
pairwise sums of 8-bit products saturate only where an activation beyond its range meets
the largest weights. The log-mel enters as height above its floor: never negative, and padding is silence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from edge_lupi.errors import InputError
from edge_lupi.frames import LOG_FLOOR, MELS
from edge_lupi.models.rounding import Point

__all__ = ["SIZES", "Encoder", "EncoderSize"]


@dataclass(frozen=True)
class EncoderSize:
    """Channels and residual blocks per stage, and the width D of the embedding."""

    channels: tuple[int, ...]
    blocks: tuple[int, ...]
    embedding: int


SIZES = {
    "nano": EncoderSize((16, 32, 64), (1, 1, 1), 128),
    "small": EncoderSize((32, 64, 128), (2, 2, 2), 160),
    "base": EncoderSize((32, 64, 128, 256), (3, 4, 6, 3), 192),
}


class Unit(nn.Module):
    """Convolution, batch norm, perhaps ReLU, and the point where the result is stored."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, *, relu: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)
        self.relu: nn.Module = nn.ReLU() if relu else nn.Identity()
        self.out = Point()

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H / stride, W / stride]."""
        return self.out(self.relu(self.norm(self.conv(x))))

    def fold(self) -> None:
        """Fold the batch norm into the convolution; the unit computes the same as before in evaluation mode."""
        norm = self.norm
        if not isinstance(norm, nn.BatchNorm2d):
            return
        assert norm.running_mean is not None
        assert norm.running_var is not None
        self.conv.weight, self.conv.bias = fuse_conv_bn_weights(
            self.conv.weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        self.norm = nn.Identity()


class Block(nn.Module):
    """Two units and a way around them (He et al. 2016, arXiv 1512.03385)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = Unit(inputs, outputs, 3, stride, relu=True)
        self.second = Unit(outputs, outputs, 3, 1, relu=False)
        same = inputs == outputs and stride == 1
        self.around = nn.Identity() if same else Unit(inputs, outputs, 1, stride, relu=False)
        self.relu = nn.ReLU()
        self.out = Point()

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H / stride, W / stride]."""
        return self.out(self.relu(self.second(self.first(x)) + self.around(x)))


class Encoder(nn.Module):
    """Stem, stages, mean and deviation over time, and a 1x1 convolution to the embedding."""

    def __init__(self, size: str) -> None:
        super().__init__()
        if size not in SIZES:
            raise InputError(f"expected a size of {', '.join(SIZES)}, got {size!r}")
        shape = SIZES[size]
        self.entry = Point()
        self.stem = Unit(1, shape.channels[0], 3, 2, relu=True)
        blocks: list[nn.Module] = []
        width = shape.channels[0]
        for stage, (channels, count) in enumerate(zip(shape.channels, shape.blocks, strict=True)):
            for block in range(count):
                blocks.append(Block(width, channels, 2 if stage and not block else 1))
                width = channels
        self.blocks = nn.Sequential(*blocks)
        bands = MELS // 2 ** len(shape.channels)
        self.pooled = Point()
        self.project = nn.Conv2d(2 * width * bands, shape.embedding, 1)
        self.out = Point()
        self.embedding_size = shape.embedding

    def forward(self, log_mel: Tensor) -> Tensor:
        """[B, 80, 1, F] -> [B, D]; F is free in training and fixed in a compiled graph."""
        above_floor = torch.relu(log_mel.transpose(1, 2) - math.log(LOG_FLOOR))
        x = self.blocks(self.stem(self.entry(above_floor)))
        mean = x.mean(3, keepdim=True)
        deviation = ((x - mean).square().mean(3, keepdim=True) + 1e-5).sqrt()
        pooled = torch.cat([mean, deviation], 1).flatten(1)[:, :, None, None]
        return self.out(self.project(self.pooled(pooled))).flatten(1)

    def fold(self) -> Encoder:
        """Fold every batch norm, in place; for evaluation, rounding and export."""
        self.eval()
        for module in self.modules():
            if isinstance(module, Unit):
                module.fold()
        return self
