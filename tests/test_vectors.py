"""Unit vectors and cosines, against scipy."""

import numpy as np
from scipy.spatial.distance import cosine

from edge_lupi.vectors import cosines, unit

DRAW = np.random.default_rng(0)
A, B = DRAW.standard_normal((2, 50, 128)).astype(np.float32)


def test_cosines_row_by_row() -> None:
    assert cosines(A, B).shape == (50,)
    np.testing.assert_allclose(cosines(A, B), [1 - cosine(a, b) for a, b in zip(A, B, strict=True)], atol=1e-6)


def test_a_unit_vector_has_length_one() -> None:
    assert unit(A[0]).dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(unit(A[0])), 1, rtol=1e-6)
    np.testing.assert_allclose(cosines(unit(A[0])[None], A[:1]), 1, rtol=1e-6)


def test_silence_has_no_direction() -> None:
    silence = np.zeros(128, np.float32)
    assert not unit(silence).any()
    assert cosines(silence[None], A[:1])[0] == 0
