"""Probabilities and their calibration, on cases done by hand."""

import numpy as np
import pytest

from edge_lupi.errors import InputError
from edge_lupi.metrics.confidence import calibration_error, negative_log_likelihood, probabilities_of


def test_a_temperature_changes_how_sure_not_what() -> None:
    scores = np.array([[2.0, 0.0, -1.0], [0.0, 800.0, 0.0]])
    plain, cool = probabilities_of(scores), probabilities_of(scores, 4.0)
    np.testing.assert_allclose(plain.sum(1), 1, atol=1e-6)
    assert plain[0, 0] == pytest.approx(np.exp(2) / (np.exp(2) + 1 + np.exp(-1)))
    assert plain[0, 0] > cool[0, 0] > 1 / 3
    assert (plain.argmax(1) == cool.argmax(1)).all()


def test_what_is_as_sure_as_it_is_right_has_no_error() -> None:
    probabilities = np.array([[0.75, 0.25]] * 4)
    assert calibration_error(probabilities, np.array([0, 0, 0, 1])) == 0
    assert calibration_error(probabilities, np.array([1, 1, 1, 1])) == 0.75


def test_the_error_is_weighted_by_how_many_are_in_a_bin() -> None:
    probabilities = np.array([[1.0, 0.0]] * 3 + [[0.6, 0.4]])
    assert calibration_error(probabilities, np.array([0, 0, 1, 0])) == pytest.approx((3 * (1 - 2 / 3) + 0.4) / 4)


def test_the_likelihood_of_the_true_label() -> None:
    scores = np.log(np.array([[0.8, 0.2], [0.5, 0.5]]))
    assert negative_log_likelihood(scores, np.array([0, 1])) == pytest.approx(-np.log([0.8, 0.5]).mean())


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match=r"expected finite values \[N, C\] and labels \[N\]"):
        calibration_error(np.zeros((2, 3)), np.zeros(3))
