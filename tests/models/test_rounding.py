"""The int8 grid in torch: where it rounds, to what, and that it comes off again."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from edge_lupi.models.dense_encoder import DENSE_SIZES
from edge_lupi.models.encoder import SIZES, Encoder, make_encoder
from edge_lupi.models.front_end import cut, log_mel
from edge_lupi.models.rounding import FixedRange, convolutions, fix_ranges, points, stop_rounding


@pytest.fixture
def heard(voice: Callable[..., Any]) -> torch.Tensor:
    """log-mel segments [S, 80, 1, 50] of a voice that no range was measured on."""
    from edge_lupi.frames import Segmentation

    return cut(log_mel(torch.from_numpy(voice(77, 2.0))[None]), Segmentation(0.5, 0.25))[0]


def test_the_grid_is_symmetric_with_127_steps() -> None:
    rounded = FixedRange(torch.tensor(12.7))(torch.tensor([0.0, 0.04, 0.06, -3.14, 12.7, 99.0, -99.0]))
    torch.testing.assert_close(rounded, torch.tensor([0.0, 0.0, 0.1, -3.1, 12.7, 12.7, -12.8]))


def test_weights_have_a_scale_per_channel() -> None:
    weight = torch.tensor([0.5, 50.0])[:, None, None, None] * torch.linspace(-1, 1, 9).reshape(1, 1, 3, 3)
    rounded = FixedRange(torch.tensor([0.5, 50.0]))(weight)
    error = (rounded - weight).abs().amax((1, 2, 3))
    assert (error <= torch.tensor([0.5, 50.0]) / 127 / 2 + 1e-6).all()


def test_a_dead_channel_stays_zero() -> None:
    assert not FixedRange(torch.zeros(2))(torch.zeros(2, 1, 3, 3)).any()


@pytest.mark.parametrize("size", SIZES)
def test_every_tensor_between_convolutions_has_a_point(size: str) -> None:
    encoder = Encoder(size)
    blocks = sum(SIZES[size].blocks)
    named, layers = dict(points(encoder)), dict(convolutions(encoder))
    assert {"entry", "stem.out", "pooled", "out"} <= named.keys()
    assert sum(name.count(".") == 2 for name in named) == blocks  # one after each addition
    assert len(named) == 3 + len(layers) - 1 + blocks  # one per unit, too


def test_every_tensor_between_convolutions_of_the_dense_encoder_has_a_point() -> None:
    encoder, shape = make_encoder("dense"), DENSE_SIZES["dense"]
    named, layers = dict(points(encoder)), dict(convolutions(encoder))
    after_sums, after_joins = len(encoder.front), sum(shape.layers)
    assert len(named) == 3 + len(layers) - 1 + after_sums + after_joins


def test_rounding_moves_the_embedding_a_little_and_comes_off(
    make_grid_student: Callable[[], Any], heard: torch.Tensor
) -> None:
    trained = make_grid_student()
    encoder = trained.student.encoder.requires_grad_(False)
    weights = copy.deepcopy(encoder.state_dict())
    wanted = encoder(heard)
    fix_ranges(encoder, trained.ranges)
    rounded = encoder(heard)
    assert not torch.equal(rounded, wanted)
    assert torch.nn.functional.cosine_similarity(rounded, wanted).min() > 0.98
    stop_rounding(encoder)
    assert torch.equal(encoder(heard), wanted)
    assert encoder.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in encoder.state_dict().items())


def test_the_embedding_lies_on_its_grid(make_grid_student: Callable[[], Any], heard: torch.Tensor) -> None:
    trained = make_grid_student()
    fix_ranges(trained.student.encoder, trained.ranges)
    with torch.no_grad():
        steps = trained.student.encoder(heard) / (trained.ranges["out"] / 127)
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-3)


def test_ranges_go_where_the_model_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(self: FixedRange, x: torch.Tensor) -> torch.Tensor:  # torch rounds nothing on the device "meta"
        assert self.scale.device == self.zero.device == x.device
        return x

    monkeypatch.setattr(FixedRange, "forward", forward)
    encoder = Encoder("pico").fold()
    ranges = {name: torch.tensor(3.0) for name, _ in points(encoder)}
    ranges |= {f"{name}.weight": conv.weight.detach().abs().amax((1, 2, 3)) for name, conv in convolutions(encoder)}
    encoder.to("meta")  # on a GPU a scale that stayed on the CPU could not round anything
    fix_ranges(encoder, ranges)
    assert encoder(torch.zeros(2, 80, 1, 50, device="meta")).device.type == "meta"
