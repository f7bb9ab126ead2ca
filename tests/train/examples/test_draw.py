"""Several processes together draw what one draws."""

import pytest
import torch

from edge_lupi.train.examples.draw import Draw


@pytest.mark.parametrize("world", [1, 2, 3])
def test_the_ranks_together_draw_what_one_draws(world: int) -> None:
    alone, ranks = Draw(5), [Draw(5, rank, world) for rank in range(world)]
    for kind, shape in (("uniform", ()), ("normal", (80, 1, 7)), ("uniform", (1, 1)), ("normal", ())):
        together = torch.cat([getattr(rank, kind)(4, *shape) for rank in ranks])
        assert torch.equal(together, getattr(alone, kind)(4 * world, *shape))


def test_no_rank_draws_what_another_draws() -> None:
    first, second = Draw(5, 0, 2).uniform(8), Draw(5, 1, 2).uniform(8)
    assert not torch.isin(first, second).any()


def test_numbers_are_those_of_the_seed() -> None:
    drawn = Draw(1).uniform(20_000)
    assert ((drawn >= 0) & (drawn < 1)).all()
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.01)
    assert not torch.equal(drawn, Draw(2).uniform(20_000))
    normal = Draw(1).normal(20_000)
    assert (normal.mean().item(), normal.std().item()) == (pytest.approx(0, abs=0.03), pytest.approx(1, abs=0.03))
