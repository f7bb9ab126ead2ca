"""The densely connected segment encoder: a 2-D front, then a dense TDNN over time. log-mel float32 [B, 80, 1, F] -> [B, D].

The plan of CAM++ (Wang et al. 2023, arXiv 2303.00332) without its context masks, so that a student can begin with what
such a network knows (`train.prune`). Where CAM++ puts batch norm and ReLU before every layer, here each feature is rectified
once, as it is made: every tensor that an int8 convolution reads then comes from a ReLU, and norms fold. The log-mel
enters less its mean over the segment: level and microphone fall out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edge_lupi.frames import MELS
from edge_lupi.models.rounding import RoundingPoint
from edge_lupi.models.unit import Unit, folded

__all__ = ["DENSE_SIZES", "DenseEncoder", "DenseSize"]

ABOVE_MEAN = 6.0  # nepers below the mean of its band at which sound counts as silence
SMALLEST_VARIANCE = 1e-3


@dataclass(frozen=True)
class DenseSize:
    """Channels of the front; layers, dilation and width after each dense block; channels of a bottleneck; growth a layer; D."""

    front: int
    layers: tuple[int, ...]
    widths: tuple[int, ...]
    bottleneck: int
    embedding: int
    first: int = 128
    growth: int = 32
    dilations: tuple[int, ...] = (1, 2, 2)


DENSE_SIZES = {"dense": DenseSize(32, (8, 12, 8), (192, 320, 320), 96, 192)}


class FrontBlock(nn.Module):
    """Two 3 x 3 layers and a way around them; the stride is along frequency alone."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.first = Unit(channels, channels, 3, (stride, 1), relu=True)
        self.second = Unit(channels, channels, 3, relu=False)
        self.around = nn.Identity() if stride == 1 else Unit(channels, channels, 1, (stride, 1), relu=False)
        self.relu = nn.ReLU()
        self.out = RoundingPoint()

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H / stride, W]."""
        result: Tensor = self.out(self.relu(self.second(self.first(x)) + self.around(x)))
        return result


class DenseLayer(nn.Module):
    """A bottleneck over all features so far, then three steps of time -> `growth` more features, beside them."""

    def __init__(self, width: int, bottleneck: int, growth: int, dilation: int) -> None:
        super().__init__()
        self.squeeze = Unit(width, bottleneck, 1, relu=True)
        self.look = Unit(bottleneck, growth, (1, 3), relu=True, dilation=dilation)
        self.out = RoundingPoint()

    def forward(self, x: Tensor) -> Tensor:
        """[B, W, 1, T] -> [B, W + growth, 1, T]."""
        result: Tensor = self.out(torch.cat([x, self.look(self.squeeze(x))], 1))
        return result


class DenseEncoder(nn.Module):
    """Front, three dense blocks with a narrowing layer after each, mean and deviation over time, and a 1x1 convolution to D."""

    def __init__(self, shape: DenseSize) -> None:
        super().__init__()
        channels = shape.front
        self.entry = RoundingPoint()
        self.stem = Unit(1, channels, 3, (1, 2), relu=True, border=(0, 0))
        self.front = nn.Sequential(*(FrontBlock(channels, stride) for stride in (2, 1, 2, 1)))
        self.down = Unit(channels, channels, 3, (2, 1), relu=True)
        self.first = Unit(channels, shape.first, (MELS // 8, 3), relu=True, border=(0, 1))
        width = shape.first
        steps: list[nn.Module] = []
        for layers, dilation, narrow in zip(shape.layers, shape.dilations, shape.widths, strict=True):
            for _ in range(layers):
                steps.append(DenseLayer(width, shape.bottleneck, shape.growth, dilation))
                width += shape.growth
            steps.append(Unit(width, narrow, 1, relu=True))
            width = narrow
        self.blocks = nn.Sequential(*steps)
        self.pooled = RoundingPoint()
        self.project = nn.Conv2d(2 * width, shape.embedding, 1, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(shape.embedding)
        self.out = RoundingPoint()
        self.embedding_size = shape.embedding

    def forward(self, log_mel: Tensor) -> Tensor:
        """[B, 80, 1, F] -> [B, D]; F is free in training and fixed in a compiled graph."""
        heard = log_mel.transpose(1, 2)
        entered = self.entry(torch.relu(framed(heard - heard.mean(3, keepdim=True)) + ABOVE_MEAN))
        x = self.down(self.front(self.stem(entered)))
        x = self.blocks(self.first(x))
        mean = x.mean(3, keepdim=True)
        deviation = ((x - mean).square().mean(3, keepdim=True) + SMALLEST_VARIANCE).sqrt()
        result: Tensor = self.out(self.norm(self.project(self.pooled(torch.cat([mean, deviation], 1))))).flatten(1)
        return result

    def fold(self) -> DenseEncoder:
        """Fold every batch norm, in place; for evaluation, rounding and export."""
        self.eval()
        for module in self.modules():
            if isinstance(module, Unit):
                module.fold()
        self.norm = folded(self.project, self.norm)
        return self


def framed(x: Tensor) -> Tensor:
    """A border of zeros around [B, 1, H, W]; a Pad would be written with shapes that the graph computes."""
    side = x.mean(3, keepdim=True) * 0
    x = torch.cat([side, x, side], 3)
    edge = x.mean(2, keepdim=True) * 0
    return torch.cat([edge, x, edge], 2)
