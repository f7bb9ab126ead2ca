"""Report of a sweep: Markdown table, results.json and a plot of the gains. Summary -> files."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edge_lupi.disk import write_at_once
from edge_lupi.metrics.bootstrap import Interval
from edge_lupi.train.examples.keep import keeping
from edge_lupi.train.sweep.gain import ArmSummary, Summary
from edge_lupi.train.sweep.result import Result
from edge_lupi.words import json_text, numbers_or_none

__all__ = ["plain_summary", "plot_gains", "table", "write_summary"]


def table(summary: Summary) -> str:
    """Markdown, one row an arm; rates in per cent."""
    lines = []
    for condition, arms in summary.items():
        head = "" if condition == "clean" else f" at {condition}"
        lines += [
            f"| arm | UAR{head}, % | gain, points | by fold | distance to teacher | s per training |",
            "|---|---|---|---|---|---|",
        ]
        for arm, row in arms.items():
            folds = " ".join(f"{100 * value:.1f}" for value in row.by_fold.values())
            far = "" if row.distance is None else f"{row.distance:.3f}"
            lines.append(
                f"| {arm} | {100 * row.uar.value:.1f} ({100 * row.uar.low:.1f} to {100 * row.uar.high:.1f}) "
                f"| {_points(row.gain)} | {folds} | {far} | {row.seconds:.0f} |"
            )
        lines += ["", *_pairs(arms, head)]
    return "\n".join(lines)


def _pairs(arms: Mapping[str, ArmSummary], head: str) -> list[str]:
    rows = [
        f"| {arm} | {other} | {_points(over.gain)} | " + (f"{over.nearer} of {over.of} |" if over.of else "|")
        for arm, row in arms.items()
        for other, over in row.over.items()
    ]
    if not rows:
        return []
    return [f"| arm | over | gain in UAR{head}, points | nearer to the teacher |", "|---|---|---|---|", *rows, ""]


def _points(gain: Interval) -> str:
    return f"{100 * gain.value:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"


def write_summary(summary: Summary, results: Sequence[Result], folder: Path) -> None:
    """Write results.json, table.md and gain.png. Raises InputError where the folder cannot be written."""
    content = numbers_or_none({"summary": plain_summary(summary), "trainings": [asdict(r) for r in results]})
    with keeping(folder):
        for name, text in (("results.json", json_text(content)), ("table.md", table(summary))):
            write_at_once(folder / name, text.encode())
        plot_gains(summary, folder / "gain.png")


def plain_summary(summary: Summary) -> dict[str, dict[str, Any]]:
    """{condition: {arm: {uar, low, high, gain: {value, low, high}, over: {arm: {value, low, high, nearer, of}}, ...}}}, for JSON."""
    return {condition: {arm: _plain(row) for arm, row in arms.items()} for condition, arms in summary.items()}


def _plain(row: ArmSummary) -> dict[str, Any]:
    around = {"uar": row.uar.value, "low": row.uar.low, "high": row.uar.high}
    over = {
        other: asdict(one.gain) | ({"nearer": one.nearer, "of": one.of} if one.of else {})
        for other, one in row.over.items()
    }
    return around | {**asdict(row), **around, "over": over}


def plot_gains(summary: Summary, path: Path) -> None:
    """A picture: gain over the reference per arm, with its interval; a panel per condition."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1,
        len(summary),
        figsize=(5 * len(summary) + 1, 0.4 * len(next(iter(summary.values()))) + 1.5),
        squeeze=False,
        sharey=True,
    )
    for axis, (condition, arms) in zip(axes[0], summary.items(), strict=True):
        gains = [row.gain for row in arms.values()]
        middle = np.array([100 * gain.value for gain in gains])
        low, high = (
            np.array([100 * bound for bound in bounds])
            for bounds in zip(*((g.low, g.high) for g in gains), strict=True)
        )
        place = np.arange(len(gains))
        axis.errorbar(
            middle, place, xerr=[np.maximum(0, middle - low), np.maximum(0, high - middle)], fmt="o", capsize=3
        )
        axis.axvline(0, color="grey", linewidth=0.8)
        axis.set_yticks(place, list(arms))
        axis.invert_yaxis()
        axis.set_xlabel("gain in UAR, points (95 %)")
        axis.set_title(condition)
    figure.tight_layout()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    pyplot.close(figure)
    write_at_once(path, picture.getvalue())
