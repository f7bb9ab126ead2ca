"""EER, minDCF, DET and open-set rates, against cases by hand, brute force and scikit-learn."""

from itertools import pairwise

import numpy as np
import pytest

from edge_lupi.errors import InputError
from edge_lupi.metrics.verification import (
    det,
    eer,
    min_dcf,
    open_set,
    threshold_for,
)
from edge_lupi.metrics.verification import rates as rates_at


def rates(scores: np.ndarray, targets: np.ndarray) -> list[tuple[float, float]]:
    """(miss, false alarm) at every threshold that matters, one comparison at a time."""
    thresholds = [*sorted(set(scores.tolist())), float("inf")]
    return [(float(np.mean(scores[targets] < t)), float(np.mean(scores[~targets] >= t))) for t in thresholds]


def brute_eer(scores: np.ndarray, targets: np.ndarray) -> float:
    points = rates(scores, targets)
    for (miss, alarm), (next_miss, next_alarm) in pairwise(points):
        if miss <= alarm and next_miss >= next_alarm:
            share = (alarm - miss) / ((next_miss - miss) + (alarm - next_alarm))
            return miss + share * (next_miss - miss)
    raise AssertionError("no crossing")


def drawn(seed: int, n: int, apart: float, decimals: int = 12) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    targets = draw.random(n) < 0.3
    targets[:2] = True, False
    return np.round(draw.normal(size=n) + apart * targets, decimals), targets


@pytest.mark.parametrize(
    ("scores", "targets", "value"),
    [
        ([0, 0, 1, 1], [0, 0, 1, 1], 0.0),
        ([1, 1, 0, 0], [0, 0, 1, 1], 1.0),
        ([5, 5, 5, 5], [0, 0, 1, 1], 0.5),
        ([1, 2, 3, 4], [0, 1, 0, 1], 0.5),
        ([0.1, 0.2, 0.6, 0.5, 0.8, 0.9], [0, 0, 0, 1, 1, 1], 1 / 3),
        ([0, 1, 1, 1, 2], [0, 0, 0, 1, 1], 2 / 7),  # where the line from (0, 2/3) to (1/2, 0) has equal rates
    ],
)
def test_eer_by_hand(scores: list[float], targets: list[int], value: float) -> None:
    assert brute_eer(np.array(scores), np.array(targets, bool)) == pytest.approx(value, abs=1e-12)
    assert eer(scores, targets).value == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("decimals", [12, 1, 0])
def test_eer_and_min_dcf_equal_brute_force_with_and_without_ties(seed: int, decimals: int) -> None:
    scores, targets = drawn(seed, 60, apart=seed / 8, decimals=decimals)
    assert eer(scores, targets).value == pytest.approx(brute_eer(scores, targets), abs=1e-12)
    cost = min(0.05 * 2 * miss + 0.95 * alarm for miss, alarm in rates(scores, targets))
    assert min_dcf(scores, targets, 0.05, c_miss=2) == pytest.approx(cost / 0.1, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_eer_forgets_the_order_and_the_scale_of_the_scores(seed: int) -> None:
    scores, targets = drawn(seed, 400, 1.5)
    value, threshold = eer(scores, targets)
    order = np.random.default_rng(seed).permutation(400)
    assert eer(scores[order], targets[order]) == (value, threshold)
    assert eer(np.exp(scores), targets).value == pytest.approx(value, abs=1e-12)
    assert eer(-scores, ~targets).value == pytest.approx(value, abs=1e-12)


def test_the_threshold_parts_the_scores_at_that_rate() -> None:
    scores, targets = drawn(0, 5000, 2.0)
    value, threshold = eer(scores, targets)
    assert np.mean(scores[targets] < threshold) == pytest.approx(value, abs=2e-3)
    assert np.mean(scores[~targets] >= threshold) == pytest.approx(value, abs=2e-3)
    assert value == pytest.approx(0.1587, abs=0.02)  # two normals 2 apart: Phi(-1)
    assert eer([0.0, 1.0], [0, 1]).threshold == 0.5  # halfway through the gap


def test_scores_that_know_nothing() -> None:
    scores, targets = drawn(1, 20_000, 0.0)
    assert eer(scores, targets).value == pytest.approx(0.5, abs=0.02)
    assert min_dcf(scores, targets) == pytest.approx(1.0, abs=0.02)


def test_min_dcf_by_hand() -> None:
    assert min_dcf([0, 0, 1, 1], [0, 0, 1, 1]) == 0.0
    assert min_dcf([1, 1, 0, 0], [0, 0, 1, 1]) == 1.0
    # refuse the 0.6: miss 1 of 3, no alarm: 0.01 / 3 over 0.01
    assert min_dcf([0.1, 0.2, 0.6, 0.5, 0.8, 0.9], [0, 0, 0, 1, 1, 1]) == pytest.approx(1 / 3)
    # at prior .5 the same point costs 1/6 over 1/2
    assert min_dcf([0.1, 0.2, 0.6, 0.5, 0.8, 0.9], [0, 0, 0, 1, 1, 1], p_target=0.5) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("scores", "targets"),
    [
        ([], []),
        ([1.0], [1]),
        ([1, 2], [1, 1]),
        ([1, 2], [0, 0]),
        ([1, np.nan], [0, 1]),
        ([1, np.inf], [0, 1]),
        ([1, 2, 3], [0, 1]),
        ([1, 2], [0, 2]),
        ([[1, 2]], [[0, 1]]),
    ],
)
def test_trials_that_have_no_eer(scores: list[float], targets: list[int]) -> None:
    for measure in (eer, min_dcf):
        with pytest.raises(InputError, match="expected"):
            measure(scores, targets)


@pytest.mark.parametrize(("p_target", "c_miss"), [(0, 1), (1, 1), (-0.1, 1), (float("nan"), 1), (0.01, 0)])
def test_costs_that_make_no_sense(p_target: float, c_miss: float) -> None:
    with pytest.raises(InputError, match="prior"):
        min_dcf([0, 1], [0, 1], p_target, c_miss)


@pytest.mark.parametrize("decimals", [12, 1, 0])
def test_det_and_rates_equal_brute_force(decimals: int) -> None:
    scores, targets = drawn(3, 80, 1.0, decimals)
    wanted = rates(scores, targets)
    found = det(scores, targets)
    assert np.stack([found.false_rejects, found.false_accepts], 1) == pytest.approx(np.array(wanted))
    for threshold, (miss, alarm) in zip(sorted(set(scores.tolist())), wanted, strict=False):
        assert rates_at(scores, targets, threshold) == pytest.approx((alarm, miss))
    for threshold, alarm in zip(found.thresholds, found.false_accepts, strict=True):
        assert np.mean(scores[~targets] >= threshold) == pytest.approx(alarm)


def test_the_threshold_for_a_rate_by_hand() -> None:
    scores = np.arange(1.0, 100.0)  # 99 of them: a hundredth has 1 % above the highest, and 5 % above the fifth
    assert threshold_for(scores, 0.01) == np.nextafter(99.0, np.inf)
    assert threshold_for(scores, 0.05) == np.nextafter(95.0, np.inf)
    assert threshold_for(scores[::-1], 0.05) == np.nextafter(95.0, np.inf)
    assert threshold_for([0.3], 0.5) == np.nextafter(0.3, np.inf)
    assert threshold_for([0.3, 0.1], 0.001) == np.nextafter(0.3, np.inf)  # too few for such a rate


@pytest.mark.parametrize("n", [20, 99, 500])
def test_one_more_of_the_same_passes_no_more_often_than_asked(n: int) -> None:
    draw = np.random.default_rng(n)
    passed = [draw.normal() >= threshold_for(draw.normal(size=n), 0.05) for _ in range(20_000)]
    assert np.mean(passed) == pytest.approx(np.floor((n + 1) * 0.05) / (n + 1), abs=0.006)


@pytest.mark.parametrize(
    ("scores", "rate"), [([], 0.1), ([np.nan], 0.1), ([[1.0]], 0.1), ([1.0], 0.0), ([1.0], 1.0), ([1.0], np.nan)]
)
def test_scores_without_a_threshold(scores: list[float], rate: float) -> None:
    with pytest.raises(InputError, match="rate between 0 and 1"):
        threshold_for(scores, rate)


def test_open_set_by_hand() -> None:
    scores = [[0.9, 0.1], [0.2, 0.4], [0.7, 0.6], [0.1, 0.8], [0.3, 0.2]]
    owners = [0, 1, 1, -1, -1]  # right; right but low; another's; a stranger named; a stranger not named
    found = open_set(scores, owners, 0.5)
    assert found == (0.5, pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert open_set(scores, owners, [0.5, 0.4, 0.5, 0.9, 0.9]) == (0.0, pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert np.isnan(open_set(scores, [0, 1, 0, 1, 0], 0.5).false_accepts)
    assert np.isnan(open_set(scores, [-1] * 5, 0.5).misses)
    for wrong in ([], [[np.nan]], [0.5]):
        with pytest.raises(InputError, match="expected finite scores"):
            open_set(wrong, [0] * len(wrong), 0.5)


@pytest.mark.parametrize("decimals", [12, 1])
def test_the_det_curve_is_scikit_learns(decimals: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed: pip install edge-lupi[dev]")
    scores, targets = drawn(4, 500, 1.0, decimals)
    found = det(scores, targets)
    false_accepts, hits, _ = sklearn.roc_curve(targets, scores, drop_intermediate=False)
    assert found.false_accepts[::-1] == pytest.approx(false_accepts, abs=1e-12)
    assert found.false_rejects[::-1] == pytest.approx(1 - hits, abs=1e-12)
    _, misses, thresholds = sklearn.det_curve(targets, scores)
    for threshold, miss in zip(thresholds[thresholds <= scores.max()], misses, strict=False):
        assert rates_at(scores, targets, threshold).false_rejects == pytest.approx(miss, abs=1e-12)
