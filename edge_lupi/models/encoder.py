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
from torch.nn import functional as F

from edge_lupi.errors import InputError
from edge_lupi.frames import LOG_FLOOR, MELS
from edge_lupi.models.dense_encoder import DENSE_SIZES, DenseEncoder
from edge_lupi.models.rounding import RoundingPoint
from edge_lupi.models.unit import Unit, folded

__all__ = ["SIZES", "AnyEncoder", "Encoder", "EncoderSize", "make_encoder", "shape_of"]


@dataclass(frozen=True)
class EncoderSize:
    """Channels of the stem; channels, residual blocks and stride per stage; and the width D of the embedding.

    With `square` = 2 every 2 x 2 square of the log-mel becomes four channels before the stem, whose 3 x 3 convolution so is
    one of 6 x 6 at twice the stride: layers at full resolution cost most and see least.
    """

    stem: int
    channels: tuple[int, ...]
    blocks: tuple[int, ...]
    strides: tuple[int, ...]
    embedding: int
    square: int = 1


SIZES = {
    "pico": EncoderSize(24, (32, 64), (1, 1), (2, 2), 128, square=2),
    "nano": EncoderSize(16, (16, 32, 64), (1, 1, 1), (1, 2, 2), 128),
    "mini": EncoderSize(32, (64, 128, 128), (1, 2, 1), (2, 2, 1), 160, square=2),
    "small": EncoderSize(32, (32, 64, 128), (2, 2, 2), (1, 2, 2), 160),
    "base": EncoderSize(32, (32, 64, 128, 256), (3, 4, 6, 3), (1, 2, 2, 2), 192),
}


def _at_full_resolution(conv: nn.Conv2d, square: int) -> nn.Conv2d:
    """The convolution of the log-mel itself that does what this one does of its squares."""
    outputs, (kernel, _), (stride, _) = conv.out_channels, conv.kernel_size, conv.stride
    padding = square * (kernel // 2)
    whole = nn.Conv2d(1, outputs, square * kernel, square * stride, padding, device=conv.weight.device)
    whole.weight = nn.Parameter(F.pixel_shuffle(conv.weight.detach(), square))
    whole.bias = conv.bias
    return whole


class EncoderBlock(nn.Module):
    """Two units and a way around them (He et al. 2016, arXiv 1512.03385)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = Unit(inputs, outputs, 3, stride, relu=True)
        self.second = Unit(outputs, outputs, 3, 1, relu=False)
        same = inputs == outputs and stride == 1
        self.around = nn.Identity() if same else Unit(inputs, outputs, 1, stride, relu=False)
        self.relu = nn.ReLU()
        self.out = RoundingPoint()

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H / stride, W / stride]."""
        result: Tensor = self.out(self.relu(self.second(self.first(x)) + self.around(x)))
        return result


class Encoder(nn.Module):
    """Stem, stages, mean and deviation over time, and a 1x1 convolution to the embedding."""

    def __init__(self, size: str) -> None:
        super().__init__()
        if size not in SIZES:
            raise InputError(f"expected a size of {', '.join([*SIZES, *DENSE_SIZES])}, got {size!r}")
        shape = SIZES[size]
        self.entry = RoundingPoint()
        self.square = shape.square
        self.stem = Unit(shape.square**2, shape.stem, 3, 2, relu=True)
        blocks: list[nn.Module] = []
        width = shape.stem
        for channels, count, stride in zip(shape.channels, shape.blocks, shape.strides, strict=True):
            for block in range(count):
                blocks.append(EncoderBlock(width, channels, 1 if block else stride))
                width = channels
        self.blocks = nn.Sequential(*blocks)
        bands = MELS // (2 * shape.square * math.prod(shape.strides))
        self.pooled = RoundingPoint()
        self.project = nn.Conv2d(2 * width * bands, shape.embedding, 1, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(shape.embedding)
        self.out = RoundingPoint()
        self.embedding_size = shape.embedding

    def forward(self, log_mel: Tensor) -> Tensor:
        """[B, 80, 1, F] -> [B, D]; F is free in training and fixed in a compiled graph."""
        floor, heard = math.log(LOG_FLOOR), log_mel.transpose(1, 2)
        rest = -int(heard.shape[3]) % self.square
        if rest:  # silence; a Pad would be written with shapes that the graph computes
            heard = torch.cat([heard, heard[..., :rest] * 0 + floor], 3)
        entered = self.entry(torch.relu(heard - floor))
        if self.stem.conv.in_channels > 1:
            entered = F.pixel_unshuffle(entered, self.square)
        x = self.blocks(self.stem(entered))
        mean = x.mean(3, keepdim=True)
        deviation = ((x - mean).square().mean(3, keepdim=True) + 1e-5).sqrt()
        pooled = torch.cat([mean, deviation], 1).flatten(1)[:, :, None, None]
        result: Tensor = self.out(self.norm(self.project(self.pooled(pooled)))).flatten(1)
        return result

    def fold(self) -> Encoder:
        """Fold every batch norm, and squares into the stem's kernel, in place; for evaluation, rounding and export."""
        self.eval()
        for module in self.modules():
            if isinstance(module, Unit):
                module.fold()
        self.norm = folded(self.project, self.norm)
        if self.stem.conv.in_channels > 1:
            self.stem.conv = _at_full_resolution(self.stem.conv, self.square)
        return self


AnyEncoder = Encoder | DenseEncoder


def make_encoder(size: str) -> AnyEncoder:
    """The encoder of a size, with weights drawn at random."""
    if size in DENSE_SIZES:
        return DenseEncoder(DENSE_SIZES[size])
    return Encoder(size)


def shape_of(size: str) -> object:
    """What a size stands for."""
    return DENSE_SIZES[size] if size in DENSE_SIZES else SIZES[size]
