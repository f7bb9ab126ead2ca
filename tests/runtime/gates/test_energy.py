import numpy as np
import pytest

from edge_lupi.runtime.front_end import FftFrontEnd
from edge_lupi.runtime.gates.energy import SpeechGate


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
