"""One layer of an encoder: convolution, batch norm, perhaps ReLU, and the point where the result is stored. [B, C, H, W]."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from edge_lupi.models.rounding import RoundingPoint

__all__ = ["Unit", "adds_alone", "folded"]

Pair = int | tuple[int, int]


class Unit(nn.Module):
    """Zeros around the input keep its size at stride 1, unless `border` says how many there are."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Pair,
        stride: Pair = 1,
        *,
        relu: bool,
        dilation: int = 1,
        border: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        high, wide = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        around = (high // 2, dilation * (wide // 2)) if border is None else border
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, around, (1, dilation), bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)
        self.relu: nn.Module = nn.ReLU() if relu else nn.Identity()
        self.out = RoundingPoint()

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H / stride, W / stride]."""
        result: Tensor = self.out(self.relu(self.norm(self.conv(x))))
        return result

    def fold(self) -> None:
        """Fold the batch norm into the convolution; the unit computes the same as before in evaluation mode."""
        self.norm = folded(self.conv, self.norm)


def folded(conv: nn.Conv2d, norm: nn.Module) -> nn.Module:
    """Take a batch norm into the convolution before it; what is left in its place."""
    if isinstance(norm, nn.BatchNorm2d):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
    return nn.Identity()


@torch.no_grad()
def adds_alone(norm: nn.BatchNorm2d, bias: Tensor, mean: Tensor, variance: Tensor) -> None:
    """Make a norm that adds a bias and changes nothing else, for inputs of this mean and variance: training keeps it so."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_((norm.running_var + norm.eps).sqrt())
    norm.bias.copy_(mean + bias)
