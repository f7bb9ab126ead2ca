"""What a sweep says: UAR per arm, and the gain over the reference with a paired bootstrap interval. Results -> table, plot.

Every test speaker is drawn with replacement, and every seed: an interval holds for other speakers of the same corpus and
for other first weights (two-way bootstrap; Owen 2007, "The pigeonhole bootstrap"). Where there are fewer than five
speakers, utterances are drawn in their place, and the interval says nothing of other voices. The same draws serve all
arms, so gains are paired.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lupi.disk import write_at_once
from edge_lupi.errors import InputError
from edge_lupi.metrics.verification import Interval
from edge_lupi.words import json_text

__all__ = ["distance_to_teacher", "summarise", "table", "write_summary"]

RESAMPLES = 2000
FEWEST_SPEAKERS = 5
Floats = NDArray[np.float64]


def summarise(
    results: Sequence[dict[str, Any]], references: dict[str, str], pairs: Sequence[Sequence[str]] = ()
) -> dict[str, Any]:
    """{condition: {arm: {uar, low, high, gain: {value, low, high}, against, over, recall, seeds, folds, ...}}}; rates are fractions.

    `over` has an arm's gain over every other that `pairs` name beside it, and in how many trainings it was nearer to the teacher of both.
    """
    return {
        condition: _summary([r for r in results if condition in r["said"]], references, pairs, condition)
        for condition in results[0]["said"]
    }


def _summary(
    results: Sequence[dict[str, Any]], references: dict[str, str], pairs: Sequence[Sequence[str]], condition: str
) -> dict[str, Any]:
    arms = list(dict.fromkeys(r["arm"] for r in results))
    labels = results[0]["labels"]
    hits, counts = _tables(results, arms, condition)  # [A, seeds, groups, C], [seeds, groups, C]
    drawn = _draws(*counts.shape[:2])
    spread = {arm: _uars(hits[a], counts, *drawn) for a, arm in enumerate(arms)}
    recall = hits.sum(2) / counts.sum(1)  # [A, seeds, C]
    value = dict(zip(arms, recall.mean((1, 2)).tolist(), strict=True))
    summary = {}
    for a, arm in enumerate(arms):
        mine = [r for r in results if r["arm"] == arm]
        around = _interval(value[arm], spread[arm])
        reference = references.get(arm, arms[0])
        gain = {other: _difference(arm, other, value, spread) for other in arms}
        distances = [r["distance"] for r in mine if r["distance"] is not None]
        summary[arm] = {
            "uar": around.value,
            "low": around.low,
            "high": around.high,
            "gain": gain[reference],
            "against": reference,
            "over": {
                other: {**gain[other], **_nearer(results, arm, other)}
                for one, other in pairs
                if one == arm and other in arms
            },
            "by_seed": recall[a].mean(1).tolist(),
            "by_fold": _by_fold(mine, condition),
            "recall": dict(zip(labels, recall[a].mean(0).tolist(), strict=True)),
            "distance": float(np.mean(distances)) if distances else None,
            "seeds": sorted({r["seed"] for r in mine}),
            "folds": sorted({r["fold"] for r in mine}),
            "utterances": len({n for r in mine for n in r["names"]}),
            "seconds": float(np.mean([r["seconds"] for r in mine])),
        }
    return summary


def _tables(results: Sequence[dict[str, Any]], arms: list[str], condition: str) -> tuple[Floats, Floats]:
    """How many utterances of a class each speaker (or each utterance) has with a seed, and how many of them an arm found.

    Seeds differ in their speakers where they draw them, as validation speakers are.
    """
    seeds = sorted({r["seed"] for r in results})
    speakers = sorted({s for r in results for s in r["speakers"]})
    by = "speakers" if len(speakers) >= FEWEST_SPEAKERS else "names"
    groups = {name: number for number, name in enumerate(sorted({n for r in results for n in r[by]}))}
    hits = np.zeros((len(arms), len(seeds), len(groups), len(results[0]["labels"])))
    counts = np.zeros((len(arms), len(seeds), *hits.shape[2:]))
    for r in results:
        place = (arms.index(r["arm"]), seeds.index(r["seed"]))
        rows, truth = np.array([groups[n] for n in r[by]]), np.array(r["truth"])
        np.add.at(counts[place], (rows, truth), 1)
        np.add.at(hits[place], (rows, truth), truth == np.array(r["said"][condition]))
    return hits, counts[0]


def _draws(seeds: int, groups: int) -> tuple[Floats, Floats]:
    """How often each seed [R, seeds] and each group [R, groups] is drawn."""
    random = np.random.default_rng(0)
    return (
        random.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES).astype(float),
        random.multinomial(groups, np.full(groups, 1 / groups), RESAMPLES).astype(float),
    )


def _uars(hits: Floats, counts: Floats, seeds: Floats, groups: Floats) -> Floats:
    """UAR of every resample [R]; classes that a resample lacks do not count in it."""
    found, there = (np.einsum("rs,rg,sgc->rc", seeds, groups, table, optimize=True) for table in (hits, counts))
    recall = np.divide(found, there, out=np.zeros_like(found), where=there > 0)
    classes = (there > 0).sum(1)
    return np.divide(recall.sum(1), classes, out=np.full(len(recall), np.nan), where=classes > 0)


def _interval(value: float, spread: Floats) -> Interval:
    low, high = np.nanquantile(spread, [0.025, 0.975])  # NaN: nobody of the seeds that were drawn
    return Interval(value, float(low), float(high))


def _difference(arm: str, other: str, value: dict[str, float], spread: dict[str, Floats]) -> dict[str, float]:
    found = _interval(value[arm] - value[other], spread[arm] - spread[other])
    return {"value": found.value, "low": found.low, "high": found.high}


def _nearer(results: Sequence[dict[str, Any]], arm: str, other: str) -> dict[str, int]:
    """In how many trainings an arm was nearer than another to the teacher of both, and of how many; nothing without one."""
    mine, theirs = (
        {
            (r["fold"], r["seed"], *r["teachers"]): r["distance"]
            for r in results
            if r["arm"] == of and r["distance"] is not None
        }
        for of in (arm, other)
    )
    both = [(mine[key], theirs[key]) for key in mine if key in theirs]
    return {"nearer": sum(one < two for one, two in both), "of": len(both)} if both else {}


def _by_fold(results: Sequence[dict[str, Any]], condition: str) -> dict[str, float]:
    from edge_lupi.metrics.verification import uar

    folds = sorted({r["fold"] for r in results})
    return {
        f: float(np.mean([uar(r["truth"], r["said"][condition]) for r in results if r["fold"] == f])) for f in folds
    }


def distance_to_teacher(heard: Floats, teacher: Floats, scale: Floats) -> float | None:
    """Mean squared distance of utterance embeddings [N, D] to the teacher's, in its own spread (scale [2, D]); None where widths differ."""
    if heard.shape != teacher.shape:
        return None
    return float(np.mean(((teacher - scale[0]) / scale[1] - heard) ** 2))


def table(summary: dict[str, Any]) -> str:
    """Markdown, one row an arm; rates in per cent."""
    lines = []
    for condition, arms in summary.items():
        head = "" if condition == "clean" else f" at {condition}"
        lines += [
            f"| arm | UAR{head}, % | gain, points | by fold | distance to teacher | s per training |",
            "|---|---|---|---|---|---|",
        ]
        for arm, row in arms.items():
            folds = " ".join(f"{100 * value:.1f}" for value in row["by_fold"].values())
            far = "" if row["distance"] is None else f"{row['distance']:.3f}"
            lines.append(
                f"| {arm} | {100 * row['uar']:.1f} ({100 * row['low']:.1f} to {100 * row['high']:.1f}) "
                f"| {_points(row['gain'])} | {folds} | {far} | {row['seconds']:.0f} |"
            )
        lines += ["", *_pairs(arms, head)]
    return "\n".join(lines)


def _pairs(arms: dict[str, Any], head: str) -> list[str]:
    rows = [
        f"| {arm} | {other} | {_points(gain)} | " + (f"{gain['nearer']} of {gain['of']} |" if "of" in gain else "|")
        for arm, row in arms.items()
        for other, gain in row["over"].items()
    ]
    if not rows:
        return []
    return [f"| arm | over | gain in UAR{head}, points | nearer to the teacher |", "|---|---|---|---|", *rows, ""]


def _points(gain: dict[str, float]) -> str:
    return f"{100 * gain['value']:+.1f} ({100 * gain['low']:+.1f} to {100 * gain['high']:+.1f})"


def write_summary(summary: dict[str, Any], results: Sequence[dict[str, Any]], folder: Path) -> None:
    """results.json, table.md and gain.png."""
    whole = json_text(_finite({"summary": summary, "trainings": list(results)}))
    try:
        for name, text in (("results.json", whole), ("table.md", table(summary))):
            write_at_once(folder / name, text.encode())
        plot_gains(summary, folder / "gain.png")
    except OSError as error:
        raise InputError(
            f"could not write to {folder} ({error.strerror}): free some space and give the same command again"
        ) from error


def _finite(value: Any) -> Any:
    """The same without NaN, which JSON does not know: null where a figure has none."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def plot_gains(summary: dict[str, Any], path: Path) -> None:
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
        gains = [row["gain"] for row in arms.values()]
        middle = np.array([100 * g["value"] for g in gains])
        low, high = (np.array([100 * g[end] for g in gains]) for end in ("low", "high"))
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
