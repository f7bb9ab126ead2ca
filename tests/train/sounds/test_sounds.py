"""Crops at any sample and speed are what a good resampler gives, and short utterances are said again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soxr
import torch

from edge_lupi.data.readers.corpora import read_corpus
from edge_lupi.errors import InputError
from edge_lupi.train.sounds.sounds import Sounds, load_sounds

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def sounds(data_root: Path) -> Sounds:
    corpus = read_corpus(data_root / "librispeech_excerpts", task="speaker")
    return load_sounds(corpus.utterances[:4], 0.0, CPU)


def speech(sounds: Sounds, number: int) -> np.ndarray:
    start, length = int(sounds.starts[number]), int(sounds.lengths[number])
    return sounds.flat[start : start + length].numpy().astype(np.float32) / 32768


@pytest.mark.parametrize("speed", [0.8, 0.93, 1.07, 1.25])
def test_a_crop_at_a_speed_is_what_soxr_gives(sounds: Sounds, speed: float) -> None:
    wanted = soxr.resample(speech(sounds, 2), 16000 * speed, 16000)[16000:48000]
    found = sounds.crops(torch.tensor([2]), torch.tensor([round(16000 * speed)]), torch.tensor([speed]).double(), 32000)
    apart = found[0].numpy() - wanted
    assert 10 * np.log10((wanted**2).sum() / (apart**2).sum()) > 25  # dB; what differs is above 7 kHz


def test_a_crop_as_it_is_is_exact_and_rows_stay_apart(sounds: Sounds) -> None:
    which, first = torch.tensor([3, 0, 1]), torch.tensor([12345, 7, 20000])
    found = sounds.crops(which, first, torch.tensor([1.0, 1.1, 1.0]).double(), 8000, before=100)
    np.testing.assert_array_equal(found[0].numpy(), speech(sounds, 3)[12245:20245])
    np.testing.assert_array_equal(found[2].numpy(), speech(sounds, 1)[19900:27900])
    alone = sounds.crops(which[1:2], first[1:2], torch.tensor([1.1]).double(), 8000, before=100)
    torch.testing.assert_close(found[1:2], alone)


def test_what_is_too_short_is_said_again(sounds: Sounds) -> None:
    short = replace(sounds, lengths=torch.full((4,), 5000))
    found = short.crops(torch.tensor([1]), torch.zeros(1, dtype=torch.long), torch.ones(1).double(), 12000)[0]
    torch.testing.assert_close(found[:2000], found[5000:7000])


def test_nothing_to_hear() -> None:
    with pytest.raises(InputError, match="expected at least one utterance, got none"):
        load_sounds([], 0.0, CPU)
