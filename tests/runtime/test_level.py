"""Quiet speech is the same person; loud speech stays what it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_lupi.bundle.bundle import Bundle, shipped_bundle
from edge_lupi.frames import CONTEXT_SAMPLES
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.front_end import FftFrontEnd
from edge_lupi.runtime.level import Level
from edge_lupi.sound.audio import read_audio


def _segment(samples: np.ndarray) -> np.ndarray:
    return FftFrontEnd()(np.pad(samples, (CONTEXT_SAMPLES, 0)))[None, :, None]


def test_a_raised_segment_is_what_louder_samples_give(voice: object) -> None:
    sound = voice(0, 1.0)  # type: ignore[operator]
    level = Level(sound)
    quiet = level.raised(_segment(sound / 20))
    gain = 10 ** ((level.least_db + 20 * np.log10(20) - 10 * np.log10(np.mean(sound**2))) / 20)
    np.testing.assert_allclose(quiet, _segment(sound / 20 * gain), atol=0.1)
    assert level.raised(_segment(sound)) is not None
    np.testing.assert_array_equal(level.raised(_segment(sound)), _segment(sound))


def test_silence_stays_finite() -> None:
    raised = Level(np.zeros(0, np.float32)).raised(_segment(np.zeros(16_000, np.float32)))
    assert np.isfinite(raised).all()


@pytest.mark.parametrize("level_db", [-40, -50])
def test_real_voices_are_themselves_when_quiet(data_root: Path, level_db: float) -> None:
    student = CompiledStudent(Bundle.load(shipped_bundle("speaker")))
    for path in sorted((data_root / "librispeech_excerpts/audio").glob("*/*_a.flac"))[:4]:
        samples = read_audio(path)
        samples = samples / np.sqrt(np.mean(samples**2))
        loud, quiet = (
            student.utterance((samples * 10 ** (db / 20)).astype(np.float32)).embedding[0] for db in (-26, level_db)
        )
        assert loud @ quiet / np.linalg.norm(loud) / np.linalg.norm(quiet) > 0.9


def test_a_level_that_is_known_saves_the_work_and_changes_nothing(voice: object) -> None:
    sound = voice(0, 1.0)  # type: ignore[operator]
    level, loud = Level(sound), _segment(sound)
    known_db = float(10 * np.log10(np.mean(sound**2)))
    assert level.raised(loud, [known_db]) is loud
    for quieter in (1.3, 1.41, 1.42, 3, 20):  # 3 dB below the golden speech lies between the second and the third
        quiet, quiet_db = _segment(sound / quieter), known_db - 20 * np.log10(quieter)
        np.testing.assert_array_equal(level.raised(quiet, [quiet_db]), level.raised(quiet))
    np.testing.assert_array_equal(
        level.raised(np.concatenate([loud, quiet]), [known_db, quiet_db]), np.concatenate([loud, level.raised(quiet)])
    )
