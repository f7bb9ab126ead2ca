"""Sizes, shapes and folding of the encoder."""

import pytest
import torch
from torch import nn

from edge_lupi.errors import InputError
from edge_lupi.frames import Segmentation
from edge_lupi.models.dense_encoder import DENSE_SIZES
from edge_lupi.models.encoder import SIZES, Encoder, make_encoder
from edge_lupi.models.student import Student, StudentConfig
from edge_lupi.task import Task


@pytest.mark.parametrize(
    ("size", "most"),
    [("pico", 0.2e6), ("nano", 0.3e6), ("mini", 1.2e6), ("small", 1.25e6), ("base", 6.5e6), ("dense", 2.1e6)],
)
def test_a_student_is_no_larger_than_promised(size: str, most: float) -> None:
    student = Student(StudentConfig(size, "sequential", Segmentation(), (Task("speaker", "verification"),)))
    assert most / 3 < sum(parameter.numel() for parameter in student.parameters()) <= most


@pytest.mark.parametrize("size", [*SIZES, *DENSE_SIZES])
def test_every_convolution_is_two_dimensional(size: str) -> None:
    kinds = {
        type(m) for m in make_encoder(size).modules() if isinstance(m, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear))
    }
    assert kinds == {nn.Conv2d}


@pytest.mark.parametrize("frames", [30, 100])
def test_any_length_gives_one_embedding(frames: int) -> None:
    assert Encoder("nano").eval()(torch.randn(3, 80, 1, frames)).shape == (3, SIZES["nano"].embedding)


@pytest.mark.parametrize(("size", "frames"), [("nano", 50), ("pico", 50), ("pico", 51), ("dense", 50)])
def test_folding_keeps_the_output(size: str, frames: int) -> None:
    torch.manual_seed(0)
    encoder = make_encoder(size)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    heard = torch.randn(4, 80, 1, frames)
    encoder(heard)  # running means and deviations that are not 0 and 1
    wanted = encoder.eval()(heard)
    folded = encoder.fold()
    assert not any(isinstance(module, (nn.BatchNorm2d, nn.Dropout)) for module in folded.modules())
    torch.testing.assert_close(folded(heard), wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(folded.fold()(heard), wanted, rtol=1e-4, atol=1e-4)  # twice is once


def test_a_row_does_not_know_its_batch() -> None:
    encoder, heard = Encoder("nano").eval(), torch.randn(5, 80, 1, 50)
    torch.testing.assert_close(encoder(heard)[2:3], encoder(heard[2:3]), rtol=1e-4, atol=1e-5)


def test_an_unknown_size_is_named() -> None:
    with pytest.raises(InputError, match="pico, nano, mini, small, base, dense, got 'huge'"):
        make_encoder("huge")
