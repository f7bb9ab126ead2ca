"""Average linkage beside scipy's; names that part; blocks."""

import numpy as np
import pytest

from edge_lupi.runtime.second_look import linkage
from edge_lupi.runtime.second_look.linkage import clusters


def _voices(count: int, people: int, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(people, 16))
    voices = centres[draw.integers(people, size=count)] + 0.8 * draw.normal(size=(count, 16))
    return (voices / np.linalg.norm(voices, axis=1, keepdims=True)).astype(np.float32)


def _partition(labels: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in labels}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("least", [0.1, 0.5, 0.9])
def test_the_same_clusters_as_scipy(seed: int, least: float) -> None:
    hierarchy = pytest.importorskip("scipy.cluster.hierarchy")
    voices = _voices(60, 5, seed)
    distances = (1 - voices @ voices.T)[np.triu_indices(60, 1)].clip(0)
    expected = hierarchy.fcluster(hierarchy.linkage(distances, "average"), 1 - least, "distance")
    found = clusters(voices, np.ones(60, np.int64), [None] * 60, least=least)
    assert _partition(found) == _partition(expected)


def test_a_group_counts_as_its_members() -> None:
    """As voices that were joined before: the sum of many, and their number."""
    voices = _voices(40, 4, seed=3)
    doubled = clusters(2 * voices, np.full(40, 2), [None] * 40, least=0.4)
    assert _partition(doubled) == _partition(clusters(voices, np.ones(40, np.int64), [None] * 40, least=0.4))


def test_two_names_are_never_one_cluster() -> None:
    one = np.tile(_voices(1, 1, 0), (6, 1))
    names = ["ann", None, "bob", None, "ann", None]
    labels = clusters(one, np.ones(6, np.int64), names, least=0.5)
    assert labels[0] == labels[4] != labels[2]
    assert len(set(labels.tolist())) == 2


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_or_none(count: int) -> None:
    assert len(clusters(_voices(count, 1, 0), np.ones(count, np.int64), [None] * count, least=0.5)) == count


def test_blocks_find_the_same_people(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(1)
    who = draw.integers(4, size=90)
    voices = np.eye(16, dtype=np.float32)[who] + 0.05 * draw.normal(size=(90, 16)).astype(np.float32)
    monkeypatch.setattr(linkage, "BLOCK", 20)
    assert _partition(clusters(voices, np.ones(90, np.int64), [None] * 90, least=0.5)) == _partition(who)
