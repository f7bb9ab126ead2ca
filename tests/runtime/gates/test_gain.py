"""The gain before the voice gate: quiet speech is heard, noise is not, and the stream's blocks do not matter."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge_lupi.runtime.front_end import FftFrontEnd
from edge_lupi.runtime.gates.gain import FALL_DB, MOST_DB, WANTED_DB, Gain, powers
from edge_lupi.runtime.gates.silero import VoiceGate

SPEECH = soundfile.read(Path(__file__).resolve().parents[3] / "examples" / "two_voices.flac", dtype="float32")[0]
SPEECH = SPEECH[: 10 * 16_000]
FRONT_END = FftFrontEnd()


def _at(samples: np.ndarray, level_db: float) -> np.ndarray:
    """Scaled to this RMS."""
    return (samples * 10 ** (level_db / 20) / np.sqrt((samples**2).mean())).astype(np.float32)


def _noise(samples: int, level_db: float) -> np.ndarray:
    return _at(np.random.default_rng(0).standard_normal(samples), level_db)


def _said(samples: np.ndarray) -> np.ndarray:
    """Speech or not of every frame [F]."""
    return VoiceGate().push(FRONT_END(np.concatenate([np.zeros(240, np.float32), samples])), samples)


def _tone(chunks: int, level_db: float) -> np.ndarray:
    time = np.arange(chunks * 576) / 16_000
    return _at(np.sin(2 * np.pi * 220 * time), level_db).reshape(chunks, 576)


def _level_db(chunk: np.ndarray) -> float:
    return float(10 * np.log10((chunk**2).mean()))


@pytest.mark.parametrize("level_db", [-40, -50, -55])
def test_quiet_speech_is_heard_like_loud_speech(level_db: float) -> None:
    loud, quiet = _said(_at(SPEECH, -26)), _said(_at(SPEECH, level_db) + _noise(len(SPEECH), -75))
    assert quiet[loud].mean() > 0.97


def test_somebody_far_is_heard_after_somebody_near() -> None:
    near, far = _at(SPEECH, -24), _at(SPEECH, -50)
    pause = np.zeros(16_000, np.float32)
    said = _said(np.concatenate([near, pause, far, pause]) + _noise(2 * len(SPEECH) + 32_000, -75))
    assert said[1100:2100][said[:1000]].mean() > 0.9


@pytest.mark.parametrize("level_db", [-75, -68, -62, -56, -45])
def test_noise_alone_is_no_speech(level_db: float) -> None:
    assert not _said(_noise(10 * 16_000, level_db)).any()


def test_noise_after_speech_does_not_swell() -> None:
    noise = _noise(len(SPEECH) + 20 * 16_000, -62)
    said = _said(noise + np.concatenate([_at(SPEECH, -45), np.zeros(20 * 16_000, np.float32)]))
    assert said[:1000].mean() > 0.7
    assert not said[1060:].any()


def test_loud_sound_stays_as_it_is_and_quiet_sound_has_a_limit() -> None:
    loud, quiet = _tone(3, WANTED_DB + 1), _tone(3, -80)
    np.testing.assert_array_equal(Gain().raised(loud), loud)
    np.testing.assert_allclose(Gain().raised(quiet), quiet * 10 ** (MOST_DB / 20), rtol=1e-6)


def test_it_turns_down_at_once_and_up_slowly() -> None:
    gain = Gain()
    gain.raised(_tone(4, -50))
    assert _level_db(gain.raised(_tone(1, -25))) == pytest.approx(WANTED_DB, abs=0.5)
    assert _level_db(gain.raised(_tone(31, -50))[-1]) == pytest.approx(WANTED_DB - 25 + 3, abs=0.5)


def test_it_does_not_depend_on_how_chunks_come() -> None:
    chunks = np.random.default_rng(0).standard_normal((40, 576)).astype(np.float32) * 0.01
    chunks *= np.linspace(0.1, 3, 40, dtype=np.float32)[::-1, None]
    gain = Gain()
    one_by_one = [gain.raised(chunk[None]) for chunk in chunks]
    np.testing.assert_array_equal(np.concatenate(one_by_one), Gain().raised(chunks))


def test_factors_are_those_of_the_loudest_chunk_so_far() -> None:
    """Against the same in numpy, over all chunks at once: the level falls by so much a chunk, and a louder one counts at once."""
    chunks = SPEECH[: 200 * 576].reshape(200, 576)
    levels_db = 10 * np.log10(np.square(chunks, dtype=np.float64).mean(1) + 1e-12)
    fallen = np.arange(200) * FALL_DB
    loudest_db = np.maximum.accumulate(levels_db + fallen) - fallen
    wanted = 10 ** (np.clip(WANTED_DB - loudest_db, 0, MOST_DB) / 20)
    np.testing.assert_allclose(Gain().factors(powers(chunks)), wanted, rtol=1e-5)
