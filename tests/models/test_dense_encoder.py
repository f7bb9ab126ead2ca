"""The densely connected encoder: what it does not hear, and what its graph costs."""

import pytest
import torch

from edge_lupi.models.dense_encoder import framed
from edge_lupi.models.encoder import make_encoder


@pytest.fixture(scope="module")
def encoder() -> torch.nn.Module:
    torch.manual_seed(0)
    return make_encoder("dense").eval()


def test_level_and_microphone_fall_out(encoder: torch.nn.Module) -> None:
    """A gain adds a number to every band of the log-mel, a microphone one number per band."""
    heard = torch.randn(2, 80, 1, 100) - 5
    coloured = heard + torch.linspace(-3, 3, 80)[None, :, None, None] - 4
    torch.testing.assert_close(encoder(coloured), encoder(heard), rtol=1e-3, atol=1e-4)


def test_a_segment_of_silence_has_an_embedding(encoder: torch.nn.Module) -> None:
    assert encoder(torch.full((1, 80, 1, 100), -23.0)).isfinite().all()


def test_a_border_is_of_zeros() -> None:
    inside = torch.randn(2, 1, 4, 5)
    whole = framed(inside)
    assert whole.shape == (2, 1, 6, 7)
    torch.testing.assert_close(whole[:, :, 1:-1, 1:-1], inside)
    assert whole.count_nonzero() == inside.count_nonzero()
