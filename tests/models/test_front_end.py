"""Four ways to the same log-mel, and frames that do not know their segment."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torchaudio
from torch.nn import functional as F

from edge_lupi.frames import CONTEXT_SAMPLES, HOP_SAMPLES, LOG_FLOOR, Segmentation
from edge_lupi.models.front_end import FrontEndGraph, cut, log_mel
from edge_lupi.runtime.front_end import FftFrontEnd

Voice = Callable[..., Any]


def test_four_ways_to_the_same_log_mel(voice: Voice) -> None:
    samples = torch.from_numpy(voice(1, 2.0))
    mel = torchaudio.transforms.MelSpectrogram(
        16_000, n_fft=512, win_length=400, hop_length=160, n_mels=80, power=2.0, center=False
    )
    reference = torch.log(mel(F.pad(samples, (CONTEXT_SAMPLES + 56, 56))) + LOG_FLOOR)  # 400 samples amid 512
    with_context = F.pad(samples, (CONTEXT_SAMPLES, 0))
    ways = {
        "fft": log_mel(samples[None])[0, :, 0],
        "graph": FrontEndGraph()(with_context[None])[0, :, 0],
        "numpy": torch.from_numpy(FftFrontEnd()(with_context.numpy())),
    }
    for name, found in ways.items():
        assert found.shape == reference.shape == (80, 200), name
        assert (found - reference).abs().max() < 1e-3, name


def test_a_tone_lights_its_band() -> None:
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(16_000) / 16_000)
    band = int(log_mel(tone[None])[0, :, 0, 50].argmax())
    corners = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 82)
    assert abs(700 * (10 ** (corners[band + 1] / 2595) - 1) - 1000) < 40


def test_a_frame_hears_only_its_400_samples(voice: Voice) -> None:
    samples = torch.from_numpy(voice(2, 1.0))[None]
    whole = log_mel(samples)
    for frame in (2, 3, 50, 99):
        end = (frame + 1) * HOP_SAMPLES
        alone = log_mel(samples[:, end - 400 : end], with_context=True)
        torch.testing.assert_close(alone[..., 0], whole[..., frame], rtol=0, atol=1e-4)


def test_the_frames_of_a_piece_are_frames_of_the_whole(voice: Voice) -> None:
    samples = torch.from_numpy(voice(3, 2.0))[None]
    piece = log_mel(samples[:, 8000 - CONTEXT_SAMPLES : 24_000], with_context=True)
    torch.testing.assert_close(piece, log_mel(samples)[..., 50:150], rtol=0, atol=1e-4)


def test_segments_are_cut_on_the_grid() -> None:
    frames = torch.arange(100.0).expand(2, 80, 1, 100)
    segments = cut(frames, Segmentation(0.5, 0.2))
    assert segments.shape == (2, 3, 80, 1, 50)
    assert segments[1, :, 7, 0, 0].tolist() == [0, 20, 40]


def test_silence_is_the_floor() -> None:
    torch.testing.assert_close(log_mel(torch.zeros(1, 1600)), torch.full((1, 80, 1, 10), float(np.log(LOG_FLOOR))))
