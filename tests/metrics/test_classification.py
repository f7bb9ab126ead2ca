"""Accuracy, UAR and confusion, against cases by hand and scikit-learn."""

import numpy as np
import pytest

from edge_lupi.errors import InputError
from edge_lupi.metrics.classification import accuracy, confusion, uar


def test_classification_by_hand() -> None:
    labels, said = ["sad", "sad", "sad", "happy"], ["sad", "happy", "sad", "happy"]
    assert accuracy(labels, said) == 0.75
    assert uar(labels, said) == pytest.approx((2 / 3 + 1) / 2)
    assert confusion(labels, said, ["happy", "sad", "angry"]).tolist() == [[1, 0, 0], [1, 2, 0], [0, 0, 0]]
    assert uar(["a", "b"], ["c", "c"]) == 0.0


def test_uar_is_the_mean_of_the_diagonal_of_the_confusion() -> None:
    draw = np.random.default_rng(0)
    labels, said = draw.integers(5, size=500), draw.integers(5, size=500)
    table = confusion(labels, said, range(5))
    assert uar(labels, said) == pytest.approx(np.mean(np.diag(table) / table.sum(axis=1)))
    assert accuracy(labels, said) == pytest.approx(np.trace(table) / table.sum())


def test_classifications_that_do_not_match() -> None:
    with pytest.raises(InputError, match="one prediction per label"):
        accuracy(["a"], ["a", "b"])
    with pytest.raises(InputError, match="one prediction per label"):
        uar([], [])
    with pytest.raises(InputError, match="name every class"):
        confusion(["a"], ["b"], ["a"])


@pytest.mark.parametrize("seed", range(5))
def test_the_figures_are_scikit_learns(seed: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed: pip install edge-lupi[dev]")
    draw = np.random.default_rng(seed)
    labels, said = draw.integers(7, size=300), draw.integers(8, size=300)  # the eighth is never the truth
    assert uar(labels, said) == pytest.approx(
        sklearn.recall_score(labels, said, labels=range(7), average="macro"), abs=1e-12
    )
    assert accuracy(labels, said) == pytest.approx(sklearn.accuracy_score(labels, said), abs=1e-12)
    assert (
        confusion(labels, said, range(8)).tolist() == sklearn.confusion_matrix(labels, said, labels=range(8)).tolist()
    )
