from pathlib import Path

import numpy as np
import pytest

from edge_lupi.runtime.front_end import FftFrontEnd
from edge_lupi.runtime.gates.energy import SPEECH_BANDS, GateSettings, SpeechGate
from edge_lupi.runtime.gates.gate import levels_db
from edge_lupi.sound.audio import read_audio


def _log_mel(*pieces: tuple[float, float]) -> np.ndarray:
    """(seconds, RMS in dB) of noise, one after the other -> log-mel [80, F]."""
    random = np.random.default_rng(0)
    samples = [random.standard_normal(round(seconds * 16_000)) * 10 ** (level / 20) for seconds, level in pieces]
    return FftFrontEnd()(np.concatenate([np.zeros(240), *samples]).astype(np.float32))


def test_hears_what_stands_out_of_the_noise() -> None:
    speech = SpeechGate().push(_log_mel((3, -60), (2, -25), (2, -60)))
    assert speech[:300].mean() < 0.05
    assert speech[302:500].all()
    assert not speech[530:].any()


def test_hears_speech_from_the_first_moment() -> None:
    assert SpeechGate().push(_log_mel((2, -25))).mean() > 0.9


def test_digital_silence_is_no_speech() -> None:
    assert not SpeechGate().push(_log_mel((2, -200))).any()


def test_gets_used_to_a_steady_noise() -> None:
    speech = SpeechGate().push(_log_mel((30, -42)))
    assert not speech[-300:].any()


def test_hangover_bridges_a_short_gap_only() -> None:
    gate = SpeechGate()
    speech = gate.push(_log_mel((3, -70), (1, -25), (0.1, -70), (1, -25), (1, -70)))
    assert speech[305:505].all()
    assert not speech[550:].any()


@pytest.mark.parametrize("frames", [1, 3, 50])
def test_the_answer_does_not_depend_on_the_blocks(frames: int) -> None:
    log_mel = _log_mel((1, -60), (1, -30), (1, -50))
    gate = SpeechGate()
    parts = [gate.push(log_mel[:, start : start + frames]) for start in range(0, log_mel.shape[1], frames)]
    np.testing.assert_array_equal(np.concatenate(parts), SpeechGate().push(log_mel))


def _said_frame_by_frame(log_mel: np.ndarray, settings: GateSettings) -> list[bool]:
    """What the gate says, written as its rule reads."""
    floor_db, since_speech, hangover, said = settings.first_floor_db, 1_000, round(settings.hangover_seconds * 100), []
    for level_db in levels_db(log_mel[SPEECH_BANDS]).tolist():
        margin = settings.margin_db - (settings.release_db if since_speech <= hangover else 0.0)
        since_speech = 0 if level_db > max(floor_db + margin, settings.minimum_db) else since_speech + 1
        rising_db = min(level_db, floor_db + settings.rise_db_per_second / 100, settings.highest_floor_db)
        falling_db = floor_db + settings.fall_share * (level_db - floor_db)
        floor_db = falling_db if level_db < floor_db else rising_db
        said.append(since_speech <= hangover)
    return said


def test_real_speech_is_said_as_the_rule_reads(data_root: Path) -> None:
    for path in sorted((data_root / "librispeech_excerpts/audio").glob("*/*.flac"))[:4]:
        for loudness in (1.0, 0.01):
            log_mel = FftFrontEnd()(np.pad(read_audio(path), (240, 0))[: 240 + 160 * 700] * np.float32(loudness))
            assert SpeechGate().push(log_mel).tolist() == _said_frame_by_frame(log_mel, GateSettings())
