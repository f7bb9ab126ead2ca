"""Fake quantisation to int8, where it happens: named points on activations, parametrisations on weights. One grid for every target.

Symmetric int8: activations per tensor, weights per output channel; scale = range / 127, zero point 0. A point is
transparent until it is given a rounder: a learning one (nvidia-modelopt, in quantisation-aware fine-tuning) or a fixed
one from the ranges that the fine-tuning found (`fix_ranges`, for evaluation and export to Q/DQ).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

__all__ = ["FixedRange", "RoundingPoint", "convolutions", "fix_ranges", "points", "round_with", "stop_rounding"]

LEVELS = 127
SMALLEST_RANGE = 1e-6  # of a channel whose weights are all zero


class RoundingPoint(nn.Module):
    """A place where an activation is stored between two layers, and so is rounded when the student runs in int8."""

    def __init__(self) -> None:
        super().__init__()
        self.rounder: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """The same shape, rounded if there is a rounder."""
        result: Tensor = self.rounder(x)
        return result


class FixedRange(nn.Module):
    """Rounds to the grid of a known range: scalar for activations, [C] for weights by output channel."""

    scale: Tensor
    zero: Tensor

    def __init__(self, range_: Tensor) -> None:
        super().__init__()
        scale = range_.detach().float().clamp_min(SMALLEST_RANGE) / LEVELS
        self.register_buffer("scale", scale)
        self.register_buffer("zero", torch.zeros_like(scale, dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        """Fake quantisation; exports to a QuantizeLinear / DequantizeLinear pair."""
        if self.scale.ndim:
            return torch.fake_quantize_per_channel_affine(x, self.scale, self.zero, 0, -128, 127)
        return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero, -128, 127)


def points(model: nn.Module) -> Iterator[tuple[str, RoundingPoint]]:
    """Every activation point with its name."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, RoundingPoint))


def convolutions(model: nn.Module) -> Iterator[tuple[str, nn.Conv2d]]:
    """Every convolution with its name."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d))


def round_with(model: nn.Module, activation: Callable[[str], nn.Module], weight: Callable[[str], nn.Module]) -> None:
    """Put a rounder on every point and every convolution's weight, chosen by name."""
    for name, conv in list(convolutions(model)):
        parametrize.register_parametrization(conv, "weight", weight(name))
    for name, point in points(model):
        point.rounder = activation(name)


def fix_ranges(model: nn.Module, ranges: Mapping[str, Tensor]) -> None:
    """Round on the grid of these ranges: `<point>` scalars and `<convolution>.weight` vectors [C], wherever they lie."""
    device = next(model.parameters()).device
    round_with(
        model,
        lambda name: FixedRange(ranges[name].to(device)),
        lambda name: FixedRange(ranges[f"{name}.weight"].to(device)),
    )


def stop_rounding(model: nn.Module) -> None:
    """Take every rounder off; the weights stay what they were before rounding."""
    for _, conv in list(convolutions(model)):
        if parametrize.is_parametrized(conv, "weight"):
            parametrize.remove_parametrizations(conv, "weight", leave_parametrized=False)
    for _, point in points(model):
        point.rounder = nn.Identity()
