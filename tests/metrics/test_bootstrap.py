"""Bootstrap intervals: the textbook's, scipy's, and groups that are drawn whole."""

import time

import numpy as np
import pytest

from edge_lupi.errors import InputError
from edge_lupi.metrics.bootstrap import Interval, bootstrap
from edge_lupi.metrics.verification import eer


def test_the_interval_of_a_mean_is_the_textbook_one() -> None:
    values = np.random.default_rng(0).normal(size=400)
    found = bootstrap(lambda i: float(values[i].mean()), n=400, resamples=2000)
    assert found.value == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.015)
    assert found.high == pytest.approx(values.mean() + half, abs=0.015)
    assert bootstrap(lambda i: float(values[i].mean()), n=400, resamples=2000) == found


def test_groups_are_drawn_whole() -> None:
    groups = np.array(["b", "a", "b", "c", "a", "b"])
    seen: list[np.ndarray] = []
    bootstrap(lambda i: float(len(seen.append(np.array(i)) or i)), groups=groups, resamples=50)
    assert seen[0].tolist() == [0, 1, 2, 3, 4, 5]
    for indices in seen[1:]:
        counts = np.bincount(indices, minlength=6)
        assert counts[0] == counts[2] == counts[5]
        assert counts[1] == counts[4]
        assert counts[0] + counts[1] + counts[3] == 3


def test_items_alike_within_groups_widen_the_interval() -> None:
    draw = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 50)
    values = draw.normal(size=20)[groups] + 0.1 * draw.normal(size=1000)
    items = bootstrap(lambda i: float(values[i].mean()), n=1000)
    speakers = bootstrap(lambda i: float(values[i].mean()), groups=groups)
    assert speakers.high - speakers.low > 4 * (items.high - items.low)


def test_resamples_without_a_target_are_left_out() -> None:
    scores, targets = np.array([0.0, 0.1, 0.2, 0.9]), np.array([0, 0, 0, 1])
    found = bootstrap(lambda i: eer(scores[i], targets[i]).value, n=4)
    assert found == Interval(0.0, 0.0, 0.0)
    with pytest.raises(InputError, match="resamples that have a value"):
        bootstrap(lambda i: 1.0 if len(set(i.tolist())) == 4 else float("nan"), n=4)
    with pytest.raises(InputError, match="a value"):
        bootstrap(lambda i: float("nan"), n=4)
    with pytest.raises(InputError, match="target and non-target"):
        bootstrap(lambda i: eer(scores[i], np.zeros(4)).value, n=4)


@pytest.mark.parametrize(
    "wrong",
    [{}, {"n": 3, "groups": [1, 2, 3]}, {"n": 0}, {"groups": []}, {"n": 3, "level": 1.0}, {"n": 3, "resamples": 0}],
)
def test_a_bootstrap_of_nothing(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match="expected"):
        bootstrap(lambda i: 0.0, **wrong)


def test_a_thousand_resamples_of_a_trial_list_take_seconds() -> None:
    draw = np.random.default_rng(0)
    targets = draw.random(2304) < 0.3
    scores = draw.normal(size=2304) + 2.0 * targets
    start = time.perf_counter()
    found = bootstrap(lambda i: eer(scores[i], targets[i]).value, n=2304)
    assert time.perf_counter() - start < 10  # 0.3 s on an idle core
    assert found.low < found.value < found.high


def test_the_interval_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed: pip install edge-lupi[dev]")
    values = np.random.default_rng(1).exponential(size=200)
    found = bootstrap(lambda i: float(np.median(values[i])), n=200, resamples=4000)
    wanted = stats.bootstrap((values,), np.median, n_resamples=4000, method="percentile", rng=0).confidence_interval
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=0.03)
