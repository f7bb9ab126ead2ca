"""Formants move, and the pitch stays."""

from pathlib import Path

import numpy as np
import pytest
import torch

from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.sound.audio import read_audio
from edge_lupi.train.sounds.formants import with_formants

SOUND = Path(__file__).parents[3] / "examples" / "two_voices.flac"


@pytest.fixture(scope="module")
def speech() -> torch.Tensor:
    """Two stretches of real speech, float32 [2, 32000]."""
    samples = read_audio(SOUND)
    return torch.from_numpy(np.stack([samples[16000:48000], samples[64000:96000]]))


def pitches_hz(samples: torch.Tensor) -> np.ndarray:
    """Of every tenth of a second, by its autocorrelation between 70 and 350 Hz; voiced ones alone."""
    found = []
    for frame in samples.numpy().reshape(-1, SAMPLE_RATE_HZ // 10):
        about = frame - frame.mean()
        lags = np.fft.irfft(np.abs(np.fft.rfft(about, 4096)) ** 2)
        shortest, longest = SAMPLE_RATE_HZ // 350, SAMPLE_RATE_HZ // 70
        lag = shortest + int(lags[shortest:longest].argmax())
        found.append(SAMPLE_RATE_HZ / lag if lags[lag] > 0.5 * lags[0] else np.nan)
    return np.array(found)


def smooth_spectrum(samples: torch.Tensor) -> np.ndarray:
    """The mean log spectrum of a sound, without its harmonics, by 50 Hz."""
    power = torch.stft(samples, 320, 160, window=torch.hann_window(320), return_complex=True).abs().square()
    return power.mean(-1).log().numpy()


def formants_moved_by(old: torch.Tensor, new: torch.Tensor) -> float:
    """The factor by which the first's spectrum must be stretched to look most like the second's, between 400 Hz and 4 kHz."""
    was, now, hz = smooth_spectrum(old), smooth_spectrum(new), 50 * np.arange(8, 80)

    def apart(by: float) -> float:
        return float(np.std(now[8:80] - np.interp(hz / by, 50 * np.arange(len(was)), was)))

    return float(min(np.arange(0.8, 1.26, 0.01), key=apart))


@pytest.mark.parametrize("factor", [0.87, 1.15])
def test_formants_move_and_the_pitch_stays(speech: torch.Tensor, factor: float) -> None:
    moved = with_formants(speech, torch.full((2,), factor))
    assert moved.shape == speech.shape
    before, after = pitches_hz(speech), pitches_hz(moved)
    both = np.isfinite(before) & np.isfinite(after)
    assert both.sum() >= 10
    assert np.median(np.abs(np.log(after[both] / before[both]))) < 0.02
    for old, new in zip(speech, moved, strict=True):
        assert formants_moved_by(old, new) == pytest.approx(factor, abs=0.04)


def test_a_factor_of_one_changes_nothing(speech: torch.Tensor) -> None:
    torch.testing.assert_close(with_formants(speech, torch.ones(2)), speech, atol=1e-5, rtol=0)
