"""Sounds beside the speech: as loud as asked, of the spectrum they are named for, and never the speaker himself."""

from pathlib import Path

import numpy as np
import pytest
import torch

from edge_lupi.sound.audio import read_audio
from edge_lupi.train.sounds.noises import KINDS, MOST_VOICES, added, babble, hum, music, noise


@pytest.fixture(scope="module")
def speech(data_root: Path) -> torch.Tensor:
    paths = sorted((data_root / "librispeech_excerpts" / "audio").rglob("*-0000.flac"))[:12]
    return torch.from_numpy(np.stack([read_audio(path)[16000:48000] for path in paths]))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("ratio_db", [-5.0, 0.0, 20.0])
def test_added_at_a_ratio(speech: torch.Tensor, ratio_db: float) -> None:
    kinds = torch.arange(12) % len(KINDS)
    sound = noise(kinds, torch.rand(12, 2, generator=generator()), speech.shape[1], generator())
    found = added(speech, sound, torch.full((12,), ratio_db)) - speech
    ratio = 10 * torch.log10(speech.square().mean(1) / found.square().mean(1))
    torch.testing.assert_close(ratio, torch.full((12,), ratio_db), atol=0.05, rtol=0)


def test_hiss_from_white_to_rumble() -> None:
    chance = torch.tensor([[0.0, 0.0], [0.5, 0.0], [0.999, 0.0]])
    power = torch.fft.rfft(noise(torch.zeros(3), chance, 160000, generator())).abs().square()
    low, high = power[:, 2000:4000].mean(1), power[:, 40000:80000].mean(1)  # 200-400 Hz, 4-8 kHz
    slope = torch.log10(low / high) / torch.log10(torch.tensor(19.5))
    torch.testing.assert_close(slope, torch.tensor([0.0, 1.0, 2.0]), atol=0.15, rtol=0)


def test_hum_stands_on_harmonics_of_the_mains() -> None:
    power = torch.fft.rfft(hum(torch.tensor([[0.0, 0.5], [0.9, 0.5]]), 16000, generator())).abs().square()
    for row, mains in enumerate((50, 60)):
        lines = power[row, mains : mains * 12 + 1 : mains].sum()
        assert lines > 0.7 * power[row].sum()


def test_music_has_notes() -> None:
    found = music(torch.rand(4, 2, generator=generator()), 32000, generator())
    assert found.shape == (4, 32000)
    note = torch.fft.rfft(found[:, :4000]).abs().square().sort(1, descending=True).values
    assert (note[:, :100].sum(1) > 0.7 * note.sum(1)).all()  # lines, not noise


def test_babble_is_the_others(speech: torch.Tensor) -> None:
    rows = torch.tensor([0, 5])
    chance = torch.rand(2, MOST_VOICES + 1, generator=generator())
    alone = torch.zeros_like(speech)
    alone[0] = speech[0]
    assert babble(alone, rows, chance)[0].abs().max() == 0
    found = babble(speech, rows, chance)
    assert found.shape == (2, speech.shape[1])
    assert (found.square().mean(1) > 1).all()  # three voices or more, each at level 1
