"""Telephone speech is noticed, once; speech of the whole band is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from edge_lupi.bundle.bundle import Bundle, shipped_bundle
from edge_lupi.runtime.band import NARROW, Band
from edge_lupi.runtime.enrolment.enrolment import enroll
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.runtime.sources.files import SoundFile
from edge_lupi.runtime.speakers.gallery import Gallery


@pytest.fixture
def both(data_root: Path, sound_file: Callable[..., Path]) -> tuple[Path, Path]:
    wide = data_root / "librispeech_excerpts/audio/1040/1040-133433-0000_a.flac"
    samples, rate_hz = soundfile.read(wide)
    return wide, sound_file("telephone.wav", soxr.resample(samples, rate_hz, 8000), 8000, subtype="ALAW")


def test_the_listener_says_it_once(both: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    listener = Listener(shipped_bundle("speaker"))
    for path, notices in zip(both, ([], [NARROW]), strict=True):
        list(listener.listen(SoundFile(path)))
        assert listener.statistics.notices == notices
        assert capsys.readouterr().err.count("as on a telephone") == len(notices)


def test_enrolment_says_it_and_the_gallery_keeps_it(
    both: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = Bundle.load(shipped_bundle("speaker"))
    for name, path, times in zip(("wide", "phone"), both, (0, 1), strict=True):
        enroll(name, bundle, tmp_path / "speakers.json", [SoundFile(path)])
        assert capsys.readouterr().err.count("as on a telephone") == times
    known = Gallery.load(tmp_path / "speakers.json")
    for kept in (known, known.only(known.names, tmp_path / "exported.json")):
        kept.save()
        again = Gallery.load(kept.path)
        assert [again.narrow_band(name) for name in ("wide", "phone")] == [False, True]
    known.remove("phone")
    known.add("phone", known.exemplars("wide"))
    assert not known.narrow_band("phone")


def test_silence_is_no_telephone() -> None:
    band = Band()
    for _ in range(10):
        band.turns_narrow(np.full((80, 1, 100), np.log(1e-6), np.float32))
    assert not band.narrow
