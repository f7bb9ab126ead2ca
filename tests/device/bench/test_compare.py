"""Rules about an earlier report: passes against itself, fails against a slowed run, and what cannot be understood."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from edge_lupi.bundle.bundle import Bundle, shipped_bundle
from edge_lupi.device.bench.compare import Rule, RuleError, compare, unlike
from edge_lupi.device.bench.report import Asked, bench

Cli = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    found = bench(Asked([Bundle.load(shipped_bundle("speaker"))], ["speaker"], seconds=200.0)).plain()
    return dict(json.loads(json.dumps(found)))


def slowed(report: Any, times: float) -> Any:
    """The same report where every time is so many times as long."""
    if isinstance(report, dict):
        return {
            k: v * times if k.endswith("_ms") and isinstance(v, float) else slowed(v, times) for k, v in report.items()
        }
    return copy.copy(report)


RULES = ["p99>+10%", "p50>+0%", "thread.p50>+5%", "encoder.p90>+5%", "listener.max_ms>+1%", "real_time_factor>+0%", "parts.gate.thread.p99_ms>+5%"]  # fmt: skip


def test_passes_against_itself(report: dict[str, Any]) -> None:
    found = compare(report, report, [Rule.of(rule) for rule in RULES])
    assert [verdict.failed for verdict in found] == [False] * len(RULES)


def test_fails_against_a_slowed_run(report: dict[str, Any]) -> None:
    rules = [Rule.of(rule) for rule in RULES if "factor" not in rule]
    assert all(verdict.failed for verdict in compare(slowed(report, 1.2), report, rules))
    assert not any(verdict.failed for verdict in compare(slowed(report, 0.8), report, rules))


def test_unlike_runs_are_told(report: dict[str, Any]) -> None:
    assert unlike(report, report) == ""
    other = copy.deepcopy(report)
    other["bundle"], other["environment"]["cpu"] = "emotion.lupi", "Another \x1b[2J"
    said = unlike(report, other)
    assert said.startswith("bundle emotion.lupi before, speaker.lupi now; cpu Another \\x1b[2J before, ")
    assert unlike(report, {"environment": {}}) == ""  # of an earlier version


@pytest.mark.parametrize(
    ("rule", "old", "new", "failed"),
    [
        ("streams.in_time<-5%", 100, 96, False),
        ("streams.in_time<-5%", 100, 94, True),
        ("streams.in_time < 90", 100, 94, False),
        ("streams.in_time<95", 1, 94, True),
        ("streams.in_time>+0%", 100, 100, False),
    ],
)
def test_both_directions_and_values(rule: str, old: int, new: int, failed: bool) -> None:
    reports = [{"streams": {"in_time": count}} for count in (new, old)]
    (verdict,) = compare(*reports, [Rule.of(rule)])
    assert verdict.failed is failed
    assert verdict.text().startswith(f"streams.in_time {new} against {old} (")


@pytest.mark.parametrize("text", ["", "p99", "p99>", "p99>10%", "p99=+10%", ">+10%", "p99>+10%%", "p99>nan", "p99>ten", "p99>+10% or so", "99>+1%", "p\x1b[31m>1"])  # fmt: skip
def test_a_malformed_rule(text: str) -> None:
    with pytest.raises(RuleError, match="expected a rule such as"):
        Rule.of(text)


def test_what_was_not_measured(report: dict[str, Any]) -> None:
    for metric in ("p98", "streams.in_time", "environment.cpu", "listener", "busy"):
        with pytest.raises(RuleError, match="expected a metric of this report"):
            Rule.of(f"{metric}>+1%").value(report, "this report")
    report = {"listener": {"p99_ms": None}}
    with pytest.raises(RuleError, match="too few times: measure longer"):
        Rule.of("p99>+1%").value(report, "this report")


def test_exit_codes(report: dict[str, Any], tmp_path: Path, cli: Cli) -> None:
    old, other = tmp_path / "old.json", tmp_path / "other.json"
    old.write_text(json.dumps(slowed(report, 3)))
    other.write_text("{}")
    well = cli("bench", "--seconds", "20", "--json", "--compare", old, "--fail-if", "thread.p50>+10%")
    assert (well.returncode, well.stderr.count("\n")) == (0, 1), well.stderr
    assert well.stderr.startswith("edge-lupi: all rules hold: thread.p50 ")
    assert json.loads(well.stdout)["mode"] == "burst"
    old.write_text(json.dumps(slowed(report, 0.2)))
    worse = cli("bench", "--seconds", "20", "--compare", old, "--fail-if", "thread.p50>+10%", "--fail-if", "p50>1000")
    assert (worse.returncode, worse.stderr.count("\n")) == (1, 1), worse.stderr
    assert worse.stderr.startswith("edge-lupi: worse than before: thread.p50 ")
    for code, words in [
        (2, ("--compare", old, "--fail-if", "p99 is bad")),
        (2, ("--compare", old, "--fail-if", "cold.p50>+10%")),
        (2, ("--compare", old)),
        (2, ("--fail-if", "p99>+10%")),
        (1, ("--compare", other, "--fail-if", "p99>+10%")),
        (1, ("--compare", tmp_path / "none.json", "--fail-if", "p99>+10%")),
    ]:
        done = cli("bench", *words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done.stderr
        assert done.stderr.startswith("edge-lupi: expected ")
