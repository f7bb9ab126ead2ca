"""What the distances call near and far."""

import pytest
import torch

from edge_lupi.errors import InputError
from edge_lupi.train.losses import DISTANCES, MARGIN, distance

HERE = torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.5, 2.0]])


@pytest.mark.parametrize("name", DISTANCES)
def test_nothing_is_nearer_than_itself(name: str) -> None:
    assert distance(name)(HERE, HERE).item() == pytest.approx(0, abs=1e-6)
    assert distance(name)(HERE, HERE + 1).item() > 0


@pytest.mark.parametrize(
    ("name", "far"), [("mse", 4.0), ("margin", 4.0 - MARGIN), ("cosine", 0.0)], ids=["mse", "margin", "cosine"]
)
def test_known_values(name: str, far: float) -> None:
    ones = torch.ones(2, 5, 8)
    assert distance(name)(3 * ones, ones).item() == pytest.approx(far, abs=1e-6)


def test_cosine_runs_from_0_to_2_and_ignores_scale() -> None:
    far = distance("cosine")
    assert far(HERE, -HERE).item() == pytest.approx(2)
    assert far(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])).item() == pytest.approx(1)
    assert far(HERE * 100, HERE + 1).item() == pytest.approx(far(HERE, HERE + 1).item(), rel=1e-4)


def test_the_margin_leaves_small_differences_alone() -> None:
    near = (HERE + 0.9 * MARGIN**0.5).requires_grad_()
    loss = distance("margin")(near, HERE)
    loss.backward()
    assert loss.item() == 0
    assert near.grad is not None
    assert not near.grad.any()


def test_an_unknown_distance_is_named() -> None:
    with pytest.raises(InputError, match="mse, cosine, margin, got 'miles'"):
        distance("miles")
