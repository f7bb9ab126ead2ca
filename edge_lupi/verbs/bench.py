"""bench."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from edge_lupi.errors import InputError
from edge_lupi.terminal import note, say, say_json
from edge_lupi.verbs.options import BundlesArgument, GpuOption, JsonOption, TasksOption, finite, words

if TYPE_CHECKING:
    from edge_lupi.device.bench.compare import Rule, Verdict
    from edge_lupi.device.bench.report import Report

EXAMPLES = (
    "Wall time is what a listener waits for, thread time what its own work takes: where they part, the machine is busy. "
    "A percentile is told where there are hops enough for a 95 % interval of it (p99: 368). "
    "Keep figures with: edge-lupi bench --json > before.json; hold later ones to them with: "
    "edge-lupi bench --compare before.json --fail-if 'p99>+10%' --fail-if 'encoder.thread.p50>+5%' --fail-if 'real_time_factor>0.01' "
    "(exit code 0: all hold, 1: one does not, 2: a rule cannot be understood)."
)


def bench(
    bundle: BundlesArgument = None,
    task: TasksOption = None,
    gpu: GpuOption = None,
    mode: Annotated[
        str,
        typer.Option(
            metavar="burst|paced|streams|cold|all",
            help="burst: hops as fast as they go; paced: as from a microphone, between which the clock may sleep; "
            "streams: by trial, how many are in time; cold: from process start to the first event.",
        ),
    ] = "burst",
    seconds: Annotated[
        Optional[float],
        typer.Option(
            min=1,
            max=3600,
            help="Sound to push through, of each trial in streams.",
            show_default="burst 200, paced 60, streams 8",
            callback=finite,
        ),
    ] = None,
    sound: Annotated[
        Optional[Path],
        typer.Option("--input", metavar="FILE", help="Sound to hear.", show_default="noise that counts as speech"),
    ] = None,
    gate: Annotated[str, typer.Option(help="voice or energy, see listen.")] = "voice",
    plot: Annotated[Optional[Path], typer.Option(metavar="FILE.svg", help="Draw how many hops took how long.")] = None,
    earlier: Annotated[
        Optional[Path], typer.Option("--compare", metavar="OLD.json", help="What --json printed before, for --fail-if.")
    ] = None,
    fail_if: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="RULE",
            help="Such as p99>+10%: exit code 1 where the listener's p99 grew by more. The metric is a place in the JSON, "
            "the limit a change in per cent or a value; may be repeated.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure listening on this device: time per hop, by part and as a whole; streams in time; cold start; energy."""
    from edge_lupi.device.bench.compare import compare, unlike
    from edge_lupi.device.bench.report import Asked, bench
    from edge_lupi.runtime.listening.ears import bundles_for

    rules, old = _rules(fail_if or [], earlier)
    if plot is not None:
        _check_plot(plot, mode, [file for file in (sound, earlier) if file])
    bundles, tasks = bundles_for(bundle or [], words(task))
    asked = Asked(bundles, tasks, mode, seconds, sound, gate)
    report = bench(asked)
    if as_json:
        say_json(report.plain())
    else:
        say(*report.text().split("\n"))
    if plot is not None:
        _draw(plot, report)
    if rules:
        if differing := unlike(report.plain(), old):
            note(f"edge-lupi: unlike runs are compared, whose times say little of each other ({differing})")
        _end(compare(report.plain(), old, rules))


def _rules(texts: list[str], earlier: Path | None) -> tuple[list[Rule], Mapping[str, Any]]:
    """The rules, and the earlier report that they speak of. Raises RuleError, and InputError where that cannot be read."""
    from edge_lupi.device.bench.compare import Rule, RuleError, read_report

    rules = [Rule.of(text) for text in texts]
    if bool(rules) != (earlier is not None):
        raise RuleError("expected --compare OLD.json and --fail-if RULE together, got one of them: add the other")
    old = read_report(earlier) if earlier else {}
    for rule in rules:
        rule.value(old, "the earlier report")
    return rules, old


def _check_plot(plot: Path, mode: str, read: list[Path]) -> None:
    """Before anything is measured. Raises InputError."""
    from edge_lupi.runtime.outputs.place import check_place

    if mode in ("streams", "cold"):
        raise InputError(f"expected --mode burst, paced or all for --plot, which draws hops, got {mode}")
    check_place(plot, (".svg",), "plot", read)


def _draw(plot: Path, report: Report) -> None:
    from edge_lupi.device.bench.plot import times_svg
    from edge_lupi.disk import write_at_once, writing

    curves = [
        (f"{hops.mode}, {clock}", hops.times_ms[:, column])
        for hops in (report.burst, report.paced)
        if hops
        for column, clock in enumerate(("wall", "thread"))
    ]
    with writing(plot, "free some space, or choose another place", options=("plot",)):
        write_at_once(plot, times_svg(f"{report.bundle}, {report.environment['cpu']}", curves).encode())


def _end(verdicts: list[Verdict]) -> None:
    """One sentence on standard error; exit code 1 where a rule was broken."""
    failed = [verdict for verdict in verdicts if verdict.failed]
    each = "; ".join(verdict.text() for verdict in failed or verdicts)
    note(f"edge-lupi: {'worse than before' if failed else 'all rules hold'}: {each}")
    if failed:
        raise typer.Exit(1)
