"""Silence around an utterance is left out, and the utterance says what time is left."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from edge_lupi.data.speech import read_speech
from edge_lupi.data.utterance import Utterance
from edge_lupi.sound.audio import speech_span


@pytest.fixture
def utterance(voice: Callable[..., Any], tmp_path: Path) -> Utterance:
    """One second of a voice after half a second of faint hiss, and a second of it behind."""
    hiss = np.random.default_rng(0).normal(0, 1e-4, 40_000).astype(np.float32)
    hiss[8_000:24_000] += voice(0, 1.0)
    soundfile.write(tmp_path / "a.wav", hiss, 16_000)
    return Utterance("a", tmp_path / "a.wav", "plain")


def test_the_ends_are_trimmed(utterance: Utterance) -> None:
    samples, spoken = read_speech(utterance, 30.0)
    assert 0.3 < spoken.start_seconds < 0.55
    assert spoken.end_seconds is not None
    assert 1.6 < spoken.end_seconds < 1.9  # 300 ms stay behind the voice
    assert len(samples) == round((spoken.end_seconds - spoken.start_seconds) * 16_000)
    np.testing.assert_allclose(samples, read_speech(spoken)[0], atol=2e-3)


def test_zero_trims_nothing(utterance: Utterance) -> None:
    samples, spoken = read_speech(utterance)
    assert (len(samples), spoken) == (40_000, utterance)


def test_a_sound_that_is_loud_throughout_stays_whole(voice: Callable[..., Any]) -> None:
    tone = np.sin(np.arange(16_000) * 0.1).astype(np.float32)
    assert speech_span(tone, 30.0) == (0, 16_000)
    assert speech_span(tone[:200], 30.0) == (0, 200)  # too short to say


def test_a_higher_threshold_keeps_less() -> None:
    fading = np.sin(np.arange(48_000) * 0.1) * 10 ** (-np.arange(48_000) / 16_000)
    spans = [speech_span(fading.astype(np.float32), below) for below in (10.0, 20.0, 40.0)]
    assert [first for first, _ in spans] == [0, 0, 0]
    assert spans[0][1] < spans[1][1] < spans[2][1] <= 48_000
