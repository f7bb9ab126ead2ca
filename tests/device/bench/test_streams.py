"""Streams in time, found by trial: the search ends at the limit, one stream is always in time, delays are of events."""

from pathlib import Path

import pytest

from edge_lupi import Listener, shipped_bundle
from edge_lupi.device.bench.streams import FINE, StreamsReport, Trial, _search, streams_in_time
from edge_lupi.errors import InputError
from edge_lupi.sound.audio import read_audio

TWO_VOICES = Path(__file__).parents[3] / "examples" / "two_voices.flac"


@pytest.mark.parametrize("limit", [1, 2, 3, 16, 17, 55, 288, 1200])
@pytest.mark.parametrize("first", [2, 16, 400])
def test_the_search_ends_at_the_limit(limit: int, first: int) -> None:
    tried = list[int]()
    found = _search(lambda streams: tried.append(streams) or streams <= limit, first)
    assert found <= limit < max(found + 1, round(found * FINE) + 1)
    assert len(tried) < 20


def test_at_least_one_is_in_time() -> None:
    listener = Listener(shipped_bundle("speaker"), gallery=None, gate="energy")
    found = streams_in_time(listener, read_audio(TWO_VOICES), 4.0, first=4096)
    assert found.in_time >= 1
    assert found.trials[0].streams == 1
    assert all(trial.in_time == (trial.p99_ms < 500) for trial in found.trials)
    assert all(trial.events > 0 and trial.resident_mb > 10 for trial in found.trials)
    assert f"{found.in_time} streams in time on one thread" in found.text()


def test_late_without_a_whole_core_is_a_busy_machine() -> None:
    late = Trial(50, 800.0, 900.0, 400, 0.3, 100.0, in_time=False)
    in_time = Trial(20, 8.0, 90.0, 200, 0.1, 90.0, in_time=True)
    found = StreamsReport(20, 300.0, 0.5, [in_time, late])
    assert found.is_busy
    assert "the machine is busy: streams were late while this thread had 30% of a core" in found.text()
    own = Trial(50, 800.0, 900.0, 400, 0.98, 100.0, in_time=False)
    assert "busy" not in StreamsReport(20, 300.0, 0.5, [in_time, own]).text()


def test_too_short_a_trial_or_a_sound() -> None:
    listener = Listener(shipped_bundle("speaker"), gallery=None)
    for sound, seconds in ((read_audio(TWO_VOICES), 1.0), (read_audio(TWO_VOICES)[:16_000], 4.0)):
        with pytest.raises(InputError, match="expected trials of 4 s or more"):
            streams_in_time(listener, sound, seconds)
