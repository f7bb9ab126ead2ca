"""Percentiles: numpy's on the same times, intervals that hold what they promise, none where times are too few."""

import numpy as np
import pytest

from edge_lupi.device.bench.percentiles import QUANTILES, Percentiles, least_count


@pytest.mark.parametrize("count", [368, 400, 5000])
def test_they_are_numpys(count: int) -> None:
    times = np.random.default_rng(count).lognormal(0, 1, count)
    found = Percentiles.of(times)
    assert [found.p50_ms, found.p90_ms, found.p99_ms] == np.percentile(times, [50, 90, 99]).tolist()
    assert (found.max_ms, found.count) == (times.max(), count)
    for name, (low, high) in found.intervals_ms.items():
        assert low <= getattr(found, f"{name}_ms") <= high


@pytest.mark.parametrize(("count", "carried"), [(1, ""), (5, ""), (6, "p50"), (35, "p50"), (36, "p50 p90"), (367, "p50 p90"), (368, "p50 p90 p99")])  # fmt: skip
def test_only_what_the_count_carries(count: int, carried: str) -> None:
    found = Percentiles.of(np.arange(count, dtype=np.float64))
    values = {"p50": found.p50_ms, "p90": found.p90_ms, "p99": found.p99_ms}
    assert [name for name, value in values.items() if value is not None] == carried.split() == list(found.intervals_ms)
    assert found.row().count("-") == 3 - len(carried.split())
    assert all((count >= least_count(QUANTILES[name])) == (name in carried) for name in QUANTILES)


@pytest.mark.parametrize(("name", "count"), [("p50", 50), ("p90", 120), ("p99", 500)])
def test_intervals_hold_the_true_value_19_times_in_20(name: str, count: int) -> None:
    random, true = np.random.default_rng(0), -np.log(1 - QUANTILES[name])
    intervals = [Percentiles.of(random.exponential(1, count)).intervals_ms[name] for _ in range(1000)]
    held = np.mean([low <= true <= high for low, high in intervals])
    assert 0.94 <= held <= 0.99  # 0.95 and a little more, as ranks are whole numbers; standard error 0.007
