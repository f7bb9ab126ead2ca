"""By the shares of a recipe; each row by itself; the same again for the same draw."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edge_lupi.errors import InputError
from edge_lupi.sound.audio import read_audio
from edge_lupi.train.examples.draw import Draw
from edge_lupi.train.recipe import AugmentRecipe, DataRecipe, Recipe
from edge_lupi.train.sounds.surroundings import Surroundings

CPU = torch.device("cpu")
ALL = ("rooms", "babble", "noises", "levels", "constants", "clipping", "wires")


@pytest.fixture(scope="module")
def speech(data_root: Path) -> torch.Tensor:
    paths = sorted((data_root / "librispeech_excerpts" / "audio").rglob("*-0000.flac"))[:32]
    return torch.from_numpy(np.stack([np.resize(read_audio(path), 32000) for path in paths]))


@pytest.mark.parametrize("key", ALL)
def test_a_share_of_the_rows_is_changed(speech: torch.Tensor, key: str) -> None:
    settings = replace(AugmentRecipe(), **{key: 0.5})
    around = Surroundings(settings, 0, CPU)
    found = around(speech, Draw(3))
    changed = (found != speech).any(1)
    assert 8 <= changed.sum() <= 24
    assert torch.equal(found, around(speech, Draw(3)))
    assert found.isfinite().all()
    assert not torch.equal(found, around(speech, Draw(4)))


def test_all_at_once_and_nothing_at_all(speech: torch.Tensor) -> None:
    found = Surroundings(replace(AugmentRecipe(), **dict.fromkeys(ALL, 1.0)), 0, CPU)(speech, Draw(1))
    assert found.shape == speech.shape
    assert found.isfinite().all()
    hz = torch.fft.rfftfreq(32000, 1 / 16000)
    power = torch.fft.rfft(found).abs().square()
    assert (power.sum(1) > 0).all()
    assert (power[:, hz > 4000].sum(1) < 1e-5 * power.sum(1)).all()  # the wire is the last
    torch.testing.assert_close(Surroundings(AugmentRecipe(), 0, CPU)(speech, Draw(1)), speech)


def test_levels_are_those_asked_for(speech: torch.Tensor) -> None:
    settings = replace(AugmentRecipe(), levels=1.0, levels_db=(-50.0, -20.0))
    level = 20 * torch.log10(Surroundings(settings, 0, CPU)(speech, Draw(1)).square().mean(1).sqrt())
    assert level.min() > -50.5
    assert level.max() < -19.5
    assert level.std() > 5


def test_what_is_on_samples_needs_samples() -> None:
    data = DataRecipe("x", "speaker", "test")
    with pytest.raises(InputError, match=r"expected data.sound = \"samples\" for augment.rooms, got 'log-mel': set it"):
        Recipe("r", data, augment=AugmentRecipe(rooms=0.3))
    with pytest.raises(InputError, match=r"expected augment.babble_db = \[lowest, highest\], got \[3.0, 1.0\]"):
        AugmentRecipe(babble_db=(3.0, 1.0))
    with pytest.raises(InputError, match=r"expected augment.mixup = 0"):
        Recipe("r", replace(data, sound="samples"), augment=AugmentRecipe(mixup=0.2))
    with pytest.raises(InputError, match=r"expected data.sound log-mel or samples, got 'loud'"):
        replace(data, sound="loud")
