"""Layers by least squares: they do what the layer that they stand for does, and training does not undo it."""

import pytest
import torch
from torch import nn

from edge_lupi.models.unit import Unit
from edge_lupi.train.stages.prune import chosen, fit_unit, least_squares


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_a_linear_map_is_found_again() -> None:
    inputs, weights, bias = torch.randn(500, 7), torch.randn(3, 7), torch.randn(3)
    found, offset, explained = least_squares(inputs, inputs @ weights.T + bias, ridge=0.0)
    torch.testing.assert_close(found, weights, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(offset, bias, rtol=1e-3, atol=1e-4)
    assert explained == pytest.approx(1.0)


def test_what_has_nothing_to_do_with_the_inputs_is_not_explained() -> None:
    assert abs(least_squares(torch.randn(4000, 5), torch.randn(4000, 2))[2]) < 0.01


@pytest.mark.parametrize("stride", [1, (2, 1)])
def test_a_unit_does_what_another_does_in_evaluation_and_in_training(stride: int) -> None:
    source = Unit(6, 4, 3, stride, relu=True)
    nn.init.normal_(source.norm.weight, 1.0, 0.2)
    nn.init.normal_(source.norm.bias)
    heard = torch.rand(16, 6, 10, 12)
    raw = source.eval().norm(source.conv(heard)).detach()
    unit = Unit(6, 4, 3, stride, relu=True).eval()
    made, explained = fit_unit(unit, heard, raw, ridge=1e-9)
    assert explained > 0.999
    torch.testing.assert_close(made, torch.relu(raw), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(unit.train()(heard), made, rtol=1e-2, atol=1e-2)


def test_the_channels_that_tell_the_others_are_chosen() -> None:
    loud, quiet = torch.randn(20, 2, 50), torch.randn(20, 1, 50) * 0.01
    copies = torch.cat([loud[:, :1], quiet, loud[:, 1:], loud[:, :1] * 0.9], 1)
    assert chosen(copies, 2).tolist() == [0, 2]
    assert chosen(copies, 4).tolist() == [0, 1, 2, 3]
