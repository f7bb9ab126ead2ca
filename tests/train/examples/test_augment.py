"""What is done to log-mel sounds like the same done to samples."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from edge_lupi.frames import LOG_FLOOR
from edge_lupi.models.front_end import log_mel
from edge_lupi.train.examples.augment import (
    add_noise,
    add_reverb,
    disturb,
    disturbed_segments,
    equalise,
    mask,
    shift,
    tempo,
    warp,
)
from edge_lupi.train.examples.draw import Draw
from edge_lupi.train.recipe import AugmentRecipe, DataRecipe, Recipe

SILENCE = math.log(LOG_FLOOR)
QUIET = AugmentRecipe(gain_db=0.0, noise_share=0.0, time_mask_frames=0, mel_mask=0)


class Lowest(Draw):
    """Every uniform number is 0: of all colours of noise white, of all levels the lowest, and everyone is chosen."""

    def uniform(self, rows: int, *shape: int) -> Tensor:
        return torch.zeros(rows, *shape)


@pytest.fixture(scope="module")
def voices(voice: Callable[..., Any]) -> Tensor:
    """Samples [8, 48000]."""
    return torch.stack([torch.from_numpy(voice(seed, 3.0)) for seed in range(8)])


@pytest.fixture(scope="module")
def frames(voices: Tensor) -> Tensor:
    return log_mel(voices)


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 10.0])
def test_noise_on_log_mel_is_noise_on_samples(voices: Tensor, frames: Tensor, snr_db: float) -> None:
    noise = torch.randn(voices.shape, generator=torch.Generator().manual_seed(0))
    level = (voices.square().mean(1, keepdim=True) * 10 ** (-snr_db / 10)).sqrt()
    real = log_mel(voices + level * noise)
    made = add_noise(frames, torch.full((8,), snr_db), Lowest(1))
    assert (made - real).mean((0, 2, 3)).abs().max() < 0.2  # in every band; e^0.2 is 0.9 dB
    unrest = made.diff(dim=3).std((0, 2, 3)) / real.diff(dim=3).std((0, 2, 3))
    assert unrest.min() > 0.8
    assert unrest.max() < 1.5


def test_noise_of_another_colour_is_as_loud_but_lower(frames: Tensor) -> None:
    class Pink(Draw):
        def uniform(self, rows: int, *shape: int) -> Tensor:
            return torch.ones(rows, *shape)

    silence = torch.full_like(frames, SILENCE)
    silence[..., 0] = frames.max()  # a click sets the level
    white, pink = (add_noise(silence, torch.zeros(8), draw)[..., 1:].mean((0, 2, 3)) for draw in (Lowest(1), Pink(1)))
    louder = pink - white
    assert (louder[5:].diff() < 0.3).all()
    assert louder[5] > 1
    assert louder[-1] < -1


def test_noise_far_below_changes_nearly_nothing(frames: Tensor) -> None:
    changed = (add_noise(frames, torch.full((8,), 60.0), Lowest(1)) - frames).abs()
    assert changed.mean() < 0.05
    loud = frames > frames.amax((1, 3), keepdim=True) - math.log(1e4)
    assert changed[loud].mean() < 0.01


def test_an_impulse_decays_by_60_db_in_the_seconds_asked() -> None:
    frames = torch.full((3, 80, 1, 100), SILENCE)
    frames[..., 20] = math.log(100.0)
    seconds = torch.tensor([0.2, 0.4, 0.8])
    wet = add_reverb(frames, seconds)
    assert (wet[..., :20] - SILENCE).abs().max() < 1e-4  # nothing before the impulse
    for row, asked in enumerate(seconds.tolist()):
        slope_db = wet[row, :, 0, 21:29].diff(dim=-1) * 10 / math.log(10)
        torch.testing.assert_close(slope_db, torch.full_like(slope_db, -60 / (100 * asked)), rtol=1e-3, atol=1e-3)
        alone = add_reverb(frames[row : row + 1], seconds[row : row + 1])
        torch.testing.assert_close(wet[row], alone[0], rtol=0, atol=1e-4)  # whatever the other rows' rooms


def test_a_room_keeps_the_level(frames: Tensor) -> None:
    wet = add_reverb(frames, torch.linspace(0.1, 0.6, 8))
    tail = torch.full((8, 80, 1, 60), SILENCE)
    whole = add_reverb(torch.cat([frames, tail], 3), torch.linspace(0.1, 0.6, 8))
    torch.testing.assert_close(whole[..., :300], wet, rtol=0, atol=1e-4)
    for band in (slice(0, 20), slice(20, 50), slice(0, 80)):
        before, after = frames[:, band].exp().sum((1, 2, 3)), whole[:, band].exp().sum((1, 2, 3))
        torch.testing.assert_close(after, before, rtol=0.1, atol=0)
    assert (wet - frames).abs().mean() > 0.1


def test_masks_are_no_wider_than_asked_and_everywhere() -> None:
    recipe = replace(QUIET, time_mask_frames=15, mel_mask=10)
    frames = torch.zeros(400, 80, 1, 100)
    hidden = mask(frames, recipe, Draw(1)) == SILENCE
    stretches, bands = hidden.all(1)[:, 0], hidden.all(3)[:, :, 0]  # [B, F], [B, 80]
    assert torch.equal(hidden, stretches[:, None, None] | bands[:, :, None, None])
    for found, widest in ((stretches, 15), (bands, 10)):
        widths = found.sum(1)
        assert widths.max() <= widest
        assert widths.max() >= widest - 2
        assert (found.int().diff(dim=1) == 1).sum(1).max() <= 1  # one stretch
        assert found.any(0)[5:-5].all()
    assert torch.equal(mask(frames, QUIET, Draw(1)), frames)


def test_the_level_is_an_offset_above_the_floor(frames: Tensor) -> None:
    quieter = disturb(frames, replace(QUIET, gain_db=10.0), Lowest(1))
    torch.testing.assert_close(quieter, (frames - math.log(10)).clamp_min(SILENCE))
    offsets = (disturb(frames.clamp_min(0), replace(QUIET, gain_db=10.0), Draw(1)) - frames.clamp_min(0)).flatten(1)
    torch.testing.assert_close(offsets, offsets[:, :1].expand_as(offsets), rtol=0, atol=1e-5)
    assert offsets.abs().max() <= math.log(10)
    assert offsets.std(0).min() > 0.1


def test_shares_of_the_batch_are_disturbed(frames: Tensor) -> None:
    many = frames.repeat(16, 1, 1, 1)
    for recipe in (replace(QUIET, noise_share=0.25), replace(QUIET, reverb_share=0.25)):
        changed = (disturb(many, recipe, Draw(1)) != many).flatten(1).any(1)
        assert 0.15 < changed.float().mean() < 0.35
    assert torch.equal(disturb(many, QUIET, Draw(1)), many)


def test_one_seed_one_disturbance(frames: Tensor) -> None:
    recipe = Recipe("x", DataRecipe("there", "mood", "test"), augment=AugmentRecipe(reverb_share=0.5))
    once, again, other = (disturbed_segments(frames, recipe, Draw(seed)) for seed in (1, 1, 2))
    assert once.shape == (8, 5, 80, 1, 100)
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    ranks = [disturbed_segments(frames[4 * rank : 4 * rank + 4], recipe, Draw(1, rank, 2)) for rank in range(2)]
    torch.testing.assert_close(torch.cat(ranks), once, rtol=0, atol=1e-4)


def test_a_shift_moves_everything_and_lets_silence_in() -> None:
    frames = torch.arange(10.0).repeat(200, 80, 1, 1)
    moved = shift(frames, AugmentRecipe(shift_frames=3), Draw(0))
    seen = set()
    for row in moved[:, 0, 0]:
        by = next(k for k in range(-3, 4) if torch.equal(row[max(0, k) : 10 + min(0, k)], frames[0, 0, 0, max(0, -k) : 10 - max(0, k)]))  # fmt: skip
        seen.add(by)
        assert (row[: max(0, by)] == SILENCE).all()
        assert (row[10 + min(0, by) :] == SILENCE).all()
    assert seen == set(range(-3, 4))
    assert shift(frames, AugmentRecipe(), Draw(0)) is frames


def test_warp_is_the_sound_of_a_voice_whose_every_frequency_is_higher() -> None:
    def tones(factor: float) -> Tensor:
        time = torch.arange(16_000) / 16_000
        return log_mel(sum(torch.sin(2 * math.pi * factor * hz * time) for hz in (300.0, 1200.0, 3500.0))[None] * 0.1)

    class Highest(Draw):
        def uniform(self, rows: int, *shape: int) -> Tensor:
            return torch.ones(rows, *shape)

    wanted = tones(1.15)[..., 10:]
    made = warp(tones(1.0), replace(QUIET, warp=0.15), Highest(1))[..., 10:]
    peaks = [x.mean((0, 2, 3)).topk(8).indices for x in (made, wanted)]
    assert len(set(peaks[0].tolist()) & set(peaks[1].tolist())) >= 6
    assert (made - wanted).abs().mean() < 0.5 * (tones(1.0)[..., 10:] - wanted).abs().mean()


def test_without_warp_nothing_changes_and_rows_are_warped_apart(frames: Tensor) -> None:
    assert warp(frames, QUIET, Draw(0)) is frames
    same = frames[:1].expand(4, -1, -1, -1)
    assert warp(same, replace(QUIET, warp=0.2), Draw(0)).var(0).mean() > 0


class Fixed(Draw):
    """Uniform numbers that the test knows."""

    def __init__(self, *numbers: Tensor) -> None:
        super().__init__(0)
        self.numbers = list(numbers)

    def uniform(self, rows: int, *shape: int) -> Tensor:
        return self.numbers.pop(0).expand(rows, *shape)


@pytest.mark.parametrize("pace", [1.2, 0.8])
def test_tempo_is_the_sound_of_faster_or_slower_speech_at_the_same_frequencies(pace: float) -> None:
    count = 200
    start = 0.5 * (count - 1) * (1 - pace)

    def syllables(first_frame: float, pace: float) -> Tensor:
        time = torch.arange(count * 160, dtype=torch.float64) / 16_000
        which = ((first_frame / 100 + pace * time) / 0.25).floor().long() % 3  # a tone of its own every 250 ms
        hz = torch.tensor([300.0, 1200.0, 3500.0], dtype=torch.float64)[which]
        return log_mel((0.1 * torch.sin(2 * math.pi * hz * time)).float()[None])

    drawn = Fixed(torch.tensor(1.0 if pace > 1 else 0.0), torch.tensor(0.5))
    made, wanted, before = (
        tempo(syllables(0, 1), replace(QUIET, tempo=0.2), drawn),
        syllables(start, pace),
        syllables(0, 1),
    )
    place = start + pace * torch.arange(count)
    inside = (place >= 4) & (place <= count - 4)
    loudest = [x[0, :, 0, inside].argmax(0) for x in (made, wanted, before)]
    assert (loudest[0] == loudest[1]).float().mean() > 0.9
    assert (loudest[2] == loudest[1]).float().mean() < 0.7
    assert (made[..., (place < 0) | (place > count - 1)] == SILENCE).all()


def test_equalise_is_the_sound_through_a_filter(voices: Tensor) -> None:
    gains_db = torch.tensor([6.0, -3.0, 0.0, 4.0, -6.0, 2.0])
    top = math.log1p(8000 / 700)
    bins = torch.arange(voices.shape[1] // 2 + 1) * 16_000 / voices.shape[1]
    place = (torch.log1p(bins / 700) / top * 81 - 1).clamp(0, 79) / 79 * 5  # along the six gains, on the mel scale
    below = place.floor().long().clamp_max(4)
    curve_db = torch.lerp(gains_db[below], gains_db[below + 1], place - below)
    filtered = torch.fft.irfft(torch.fft.rfft(voices) * 10 ** (curve_db / 20), voices.shape[1])
    made = equalise(log_mel(voices), replace(QUIET, equaliser_db=6.0), Fixed((gains_db / 6 + 1) / 2))
    loud = log_mel(voices) > SILENCE + 6
    assert (made - log_mel(filtered))[loud].abs().mean() < 0.1
    assert (log_mel(voices) - log_mel(filtered))[loud].abs().mean() > 0.4


def test_without_tempo_and_equaliser_nothing_changes_and_rows_are_changed_apart(frames: Tensor) -> None:
    same = frames[:1].expand(4, -1, -1, -1)
    for change, wanted in ((tempo, replace(QUIET, tempo=0.2)), (equalise, replace(QUIET, equaliser_db=6.0))):
        assert change(frames, QUIET, Draw(0)) is frames
        assert change(same, wanted, Draw(0)).var(0).mean() > 0
