"""Diarisation error rate, on cases done by hand and against pyannote.metrics."""

from typing import Any

import numpy as np
import pytest

from edge_lupi.errors import InputError
from edge_lupi.metrics.diarisation import best_pairs, diarisation_error
from edge_lupi.rttm import Stretch

SPOKEN = [Stretch(0, 4, "anna"), Stretch(4, 8, "ben")]


def test_right_whatever_the_labels() -> None:
    found = diarisation_error(SPOKEN, [Stretch(0, 4, "2"), Stretch(4, 8, "1")])
    assert (found.rate, found.spoken_seconds, found.matched) == (0, 7.0, {"2": "anna", "1": "ben"})


def test_missed_alarmed_and_confused() -> None:
    found = diarisation_error(SPOKEN, [Stretch(1, 5, "x"), Stretch(5, 9, "y")], collar_seconds=0)
    parts = (found.missed_seconds, found.alarmed_seconds, found.confused_seconds)
    assert parts == (1, 1, 1)
    assert found.rate == 3 / 8


def test_a_late_change_is_forgiven_inside_the_collar() -> None:
    late = [Stretch(0, 4.25, "x"), Stretch(4.25, 8, "y")]
    assert diarisation_error(SPOKEN, late).rate == 0
    assert diarisation_error(SPOKEN, late, collar_seconds=0).confused_seconds == 0.25


def test_one_label_for_two_people_is_half_wrong() -> None:
    found = diarisation_error(SPOKEN, [Stretch(0, 8, "x")])
    assert found.rate == 0.5
    assert len(found.matched) == 1


def test_a_third_label_is_nobody() -> None:
    found = diarisation_error(SPOKEN, [Stretch(0, 4, "x"), Stretch(4, 6, "y"), Stretch(6, 8, "z")])
    assert found.matched == {"x": "anna", "z": "ben"} or found.matched == {"x": "anna", "y": "ben"}
    assert found.confused_seconds == 1.75


def test_people_who_speak_at_once_count_each() -> None:
    found = diarisation_error([Stretch(0, 4, "a"), Stretch(0, 4, "b")], [Stretch(0, 4, "x")], collar_seconds=0)
    assert (found.spoken_seconds, found.missed_seconds, found.confused_seconds) == (8, 4, 0)


def test_nothing_found_is_all_missed_and_nothing_spoken_is_refused() -> None:
    assert diarisation_error(SPOKEN, []).rate == 1
    with pytest.raises(InputError, match="expected reference speech"):
        diarisation_error([], SPOKEN)


def test_the_best_pairs_are_those_of_all_orders() -> None:
    from itertools import permutations

    draw = np.random.default_rng(0)
    for _ in range(300):
        rows, columns = draw.integers(1, 6, 2)
        worth = draw.random((rows, columns)) * draw.integers(0, 2, (rows, columns))
        pairs = best_pairs(worth)
        wide = worth if rows <= columns else worth.T
        best = max(
            wide[np.arange(len(wide)), list(order)].sum() for order in permutations(range(wide.shape[1]), len(wide))
        )
        assert sum(worth[pair] for pair in pairs) == pytest.approx(best)
        assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)


def _conversation(draw: np.random.Generator, labels: str) -> list[Stretch]:
    """Up to 30 stretches in a minute, many of them at the same time."""
    starts = np.round(draw.uniform(0, 60, draw.integers(1, 30)), 2)
    return [Stretch(s, s + round(draw.uniform(0.3, 4), 2), str(draw.choice(list(labels)))) for s in starts.tolist()]


@pytest.mark.parametrize("collar_seconds", [0.0, 0.25])
@pytest.mark.parametrize("overlap", [True, False])
def test_the_rate_is_pyannotes(collar_seconds: float, overlap: bool) -> None:
    why = "pyannote.metrics is not installed: pip install edge-lupi[dev]"
    core = pytest.importorskip("pyannote.core", reason=why)
    rates = pytest.importorskip("pyannote.metrics.diarization", reason=why)
    draw = np.random.default_rng(int(100 * collar_seconds) + overlap)
    for _ in range(20):
        spoken, found = _merged(_conversation(draw, "abc")), _merged(_conversation(draw, "vwxyz"))
        if not overlap:
            spoken, found = _alone(spoken), _alone(found)
        judge = rates.DiarizationErrorRate(collar=2 * collar_seconds)  # its collar is the width of both sides
        whole = core.Timeline([core.Segment(-10, 100)])
        wanted = judge(_annotation(core, spoken), _annotation(core, found), uem=whole, detailed=True)
        ours = diarisation_error(spoken, found, collar_seconds=collar_seconds)
        assert ours.rate == pytest.approx(wanted["diarization error rate"], abs=1e-9)
        parts = (ours.missed_seconds, ours.alarmed_seconds, ours.confused_seconds, ours.spoken_seconds)
        theirs = [wanted[key] for key in ("missed detection", "false alarm", "confusion", "total")]
        assert parts == pytest.approx(theirs, abs=1e-6)


def _merged(stretches: list[Stretch]) -> list[Stretch]:
    """Nobody speaks twice at once."""
    joined: list[Stretch] = []
    for one in sorted(stretches, key=lambda s: (s.label, s.start_seconds)):
        if joined and joined[-1].label == one.label and one.start_seconds <= joined[-1].end_seconds:
            one = Stretch(joined[-1].start_seconds, max(joined[-1].end_seconds, one.end_seconds), one.label)
            joined.pop()
        joined.append(one)
    return joined


def _alone(stretches: list[Stretch]) -> list[Stretch]:
    """One after the other: who begins while another speaks is left out."""
    kept: list[Stretch] = []
    for one in sorted(stretches, key=lambda s: s.start_seconds):
        if not kept or one.start_seconds > kept[-1].end_seconds:
            kept.append(one)
    return kept


def _annotation(core: Any, stretches: list[Stretch]) -> Any:
    made = core.Annotation()
    for number, one in enumerate(stretches):
        made[core.Segment(one.start_seconds, one.end_seconds), number] = one.label
    return made
