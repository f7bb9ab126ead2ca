"""Comparison with an earlier measurement: two JSON reports and rules such as `p99>+10%` in, a verdict in one sentence out.

    METRIC > +10%     fails where it grew by more than ten per cent
    METRIC < -10%     fails where it shrank by more than ten per cent
    METRIC > 5        fails above five, whatever it was before

A metric is a place in the JSON, its names joined by dots: `listener.p99_ms`, `parts.encoder.p50_ms`, `listener.thread.p50_ms`,
`streams.in_time`, `cold.p50_ms`, `real_time_factor`. `_ms` may be left out, and `parts.`; what has no place of its own is the
listener's: `p99` and `thread.p50` are `listener.p99_ms` and `listener.thread.p50_ms`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from edge_lupi.disk import read_bounded
from edge_lupi.errors import InputError
from edge_lupi.words import json_value, printable

__all__ = ["Rule", "RuleError", "Verdict", "compare", "read_report", "unlike"]

MAX_REPORT_BYTES = 1 << 24
_RULE = re.compile(r"\s*([A-Za-z][\w .+-]*?)\s*([<>])\s*([+-]?\d+(?:\.\d+)?)\s*(%?)\s*", re.ASCII)
ALIKE = ("bundle", "mode", "environment.cpu", "environment.runs_on", "environment.power_mode", "environment.governor")
Report = Mapping[str, Any]


class RuleError(InputError):
    """A rule that cannot be understood, or speaks of what was not measured."""

    exit_code = 2  # as of every mistake in what was typed


@dataclass(frozen=True)
class Rule:
    """A limit of a metric. `amount` is in per cent of what it was before, with its sign, or a value of its own."""

    metric: str
    is_upper: bool
    amount: float
    is_share: bool

    @classmethod
    def of(cls, text: str) -> Rule:
        """`p99>+10%` -> Rule. Raises RuleError."""
        match = _RULE.fullmatch(text)
        if match is None or (match[4] and match[3][0] not in "+-"):
            raise RuleError(
                f"expected a rule such as p99>+10%, streams.in_time<-5% or thread.p50>3, got {printable(text)[:80]!r}: "
                "a metric, > or <, then a change with its sign in per cent, or a value",
                options=("fail_if",),
            )
        return cls(match[1], match[2] == ">", float(match[3]), bool(match[4]))

    def value(self, report: Report, what: str) -> float:
        """The metric's, in this report. Raises RuleError where it has none, or too few times carry it."""
        begun = [self.metric, f"{self.metric}_ms"]
        for place in [*begun, *(f"parts.{name}" for name in begun), *(f"listener.{name}" for name in begun)]:
            found, value = _at(report, place)
            if found and isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value):
                return float(value)
            if found and value is None:
                raise RuleError(
                    f"expected {what} to carry {place}, got too few times: measure longer", options=("seconds",)
                )
        raise RuleError(
            f"expected a metric of {what}, such as p99, thread.p50, encoder.p90 or real_time_factor, got {self.metric!r}: "
            "JSON shows all that this mode has",
            options=("json",),
        )


@dataclass(frozen=True)
class Verdict:
    """What became of one rule."""

    rule: Rule
    old: float
    new: float
    failed: bool

    def text(self) -> str:
        """`p99 4.1 against 3.2 (+28 %, allowed +10 %)`."""
        change = f"{100 * (self.new / self.old - 1):+.0f} %, " if self.old else ""
        limit = f"{self.rule.amount:+g} %" if self.rule.is_share else f"{self.rule.amount:g}"
        return f"{self.rule.metric} {self.new:.4g} against {self.old:.4g} ({change}allowed {limit})"


def compare(new: Report, old: Report, rules: Sequence[Rule]) -> list[Verdict]:
    """A verdict for each rule. Raises RuleError, see `Rule.value`."""
    return [_verdict(rule, rule.value(old, "the earlier report"), rule.value(new, "this report")) for rule in rules]


def unlike(new: Report, old: Report) -> str:
    """In what two reports differ that times hang on, for people; empty where they are of like runs."""
    differing = list[str]()
    for place in ALIKE:
        (is_here, now), (was_there, before) = _at(new, place), _at(old, place)
        if is_here and was_there and now != before:
            name = place.rpartition(".")[2].replace("_", " ")
            differing.append(f"{name} {printable(str(before))[:80]} before, {printable(str(now))[:80]} now")
    return "; ".join(differing)


def read_report(path: Path) -> Report:
    """What `edge-lupi bench --json` printed into a file. Raises InputError."""
    data = read_bounded(path, MAX_REPORT_BYTES, "what edge-lupi bench --json printed")
    try:
        report = json_value(data)
    except ValueError as error:
        report = printable(str(error))[:80]
    if not isinstance(report, dict) or not isinstance(report.get("environment"), dict):
        raise InputError(f"expected what edge-lupi bench --json printed at {printable(str(path))}, got something else")
    return report


def _verdict(rule: Rule, old: float, new: float) -> Verdict:
    limit = old * (1 + rule.amount / 100) if rule.is_share else rule.amount
    return Verdict(rule, old, new, new > limit if rule.is_upper else new < limit)


def _at(report: Report, place: str) -> tuple[bool, Any]:
    """Whether there is such a place, and what is there."""
    value: Any = report
    for name in place.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return False, None
        value = value[name]
    return True, value
