"""Time per hop: the parts, their sum, and the keys that scripts read."""

import json
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

import pytest

from edge_lupi.bundle.bundle import Bundle, shipped_bundle
from edge_lupi.device.bench import PARTS, HopReport, Spread, measure


@pytest.fixture(scope="module")
def report(mood_chain: Any) -> HopReport:
    return measure(Bundle.load(mood_chain.folder / "student.lupi"), None, 5.0)


def test_a_hop_is_the_sum_of_its_parts(report: HopReport) -> None:
    assert report.hops == 20  # 5 s every 0.25 s
    assert tuple(report.parts) == PARTS
    for spread in report.parts.values():
        assert 0 < spread.p50_ms <= spread.p90_ms <= spread.p99_ms
    hop, parts = report.parts["hop"].p50_ms, [report.parts[name].p50_ms for name in PARTS[:-2]]
    assert max(parts) <= hop <= sum(report.parts[name].p99_ms for name in PARTS[:-2])
    assert report.parts["listener"].p50_ms > hop
    assert report.real_time_factor > hop / 250 / 2  # a mean, which a busy machine raises without bound


def test_what_the_figures_depend_on(report: HopReport) -> None:
    assert report.environment.keys() >= {"cpu", "cores", "threads", "system", "python", "onnxruntime", "edge_lupi"}
    assert report.environment["threads"] == 1


def test_text_and_json(report: HopReport) -> None:
    assert report.plain()["parts"]["hop"]["p50_ms"] == report.parts["hop"].p50_ms
    text = report.text()
    assert "student.lupi: 20 hops of 0.25 s on one thread" in text
    assert all(name in text for name in PARTS)


def test_two_bundles_together_and_each_alone() -> None:
    found = measure([Bundle.load(shipped_bundle(task)) for task in ("speaker", "emotion")], None, 5.0)
    each = ["encoder speaker", "aggregator speaker", "encoder emotion", "aggregator emotion"]
    assert list(found.parts) == ["front_end", "gate", *each, "hop", "listener"]
    assert list(found.apart) == ["speaker.lupi", "emotion.lupi"]
    assert f"{'speaker.lupi alone':<20}" in found.text()
    assert "the sum of each alone" in found.text()


def test_streams_that_one_thread_could_follow() -> None:
    spread = Spread(1.0, 1.0, 1.0)
    assert "could follow 50 streams" in HopReport("x", 1, 0.5, {"hop": spread}, 0.02, {}).text()


def test_through_the_command_line(mood_chain: Any, cli: Callable[..., CompletedProcess[str]]) -> None:
    done = cli("bench", mood_chain.folder / "student.lupi", "--seconds", "2", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found.keys() >= {"bundle", "hops", "hop_seconds", "parts", "real_time_factor", "environment"}
    assert (found["bundle"], found["hops"]) == ("student.lupi", 8)
