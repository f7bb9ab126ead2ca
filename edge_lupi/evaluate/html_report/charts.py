"""Charts of a report as SVG in a page's own colours: reliability diagram, cosines of trials, map of embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_lupi.evaluate.html_report.html import words
from edge_lupi.evaluate.html_report.plane import Plane
from edge_lupi.evaluate.html_report.style import COLOURS
from edge_lupi.metrics.confidence import Bin
from edge_lupi.metrics.wilson import wilson
from edge_lupi.vectors import Array

__all__ = ["OTHER", "cosines_svg", "map_svg", "mark", "reliability_svg"]

OTHER = -1  # the group of what has no colour of its own
SIDE, LEFT, TOP = 300, 58, 12
SHAPES = ("M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0", "M-3.5-3.5h7v7h-7z", "M0-4.5 4 3.5h-8z", "M0-4.8 4.8 0 0 4.8-4.8 0z")
MOST_DOTS = 3000
BARS = 40


def reliability_svg(bins: Sequence[Bin]) -> str:
    """How often is it right where it is so sure? A dot per bin with its 95 % interval; below, how many utterances lie there."""
    total = sum(one.count for one in bins)
    parts = [f'<path class="grid" stroke-dasharray="4 4" d="M{_x(0)} {_y(0)}L{_x(1)} {_y(1)}"/>']
    for one in bins:
        share = wilson(one.right, one.count)
        x, width = _x(one.low), _x(one.high) - _x(one.low)
        height = SIDE * 0.25 * one.count / total
        parts.append(
            f'<rect class="bar c7" x="{x:.1f}" y="{_y(0) - height:.1f}" width="{width - 1:.1f}" height="{height:.1f}"/>'
        )
        parts.append(
            f'<path class="line c0" d="M{_x(one.probability):.1f} {_y(share.low):.1f}V{_y(share.high):.1f}"/>'
            f'<circle class="dot c0" cx="{_x(one.probability):.1f}" cy="{_y(share.value):.1f}" r="5"/>'
        )
    summary = "; ".join(f"said {one.probability:.0%}, right {one.right} of {one.count}" for one in bins)
    marks = [(share, f"{share:.0%}") for share in (0, 0.25, 0.5, 0.75, 1)]
    return _chart(parts, marks, marks, "probability that was said", "share that is right", f"Reliability: {summary}")


def cosines_svg(scores: Array, targets: NDArray[np.bool_], threshold: float | None) -> str:
    """How alike are two recordings of one voice, and of two? Shares of the trials by cosine."""
    edges = np.linspace(min(0.0, float(scores.min())), 1.0, BARS + 1)
    low, high = float(edges[0]), 1.0
    shares = [np.histogram(scores[own], edges)[0] / max(1, int(own.sum())) for own in (~targets, targets)]
    top = max(float(share.max()) for share in shares) or 1.0
    parts = []
    for share, colour in zip(shares, ("c1", "c0"), strict=True):
        places = [
            f"H{_x((edge - low) / (high - low)):.1f}V{_y(value / top * 0.95):.1f}"
            for edge, value in zip(edges[:-1], share, strict=True)
        ]
        parts.append(f'<path class="bar {colour}" d="M{_x(0):.1f} {_y(0)}{"".join(places)}H{_x(1)}V{_y(0)}z"/>')
    if threshold is not None and low < threshold < high:
        x = _x((threshold - low) / (high - low))
        parts.append(
            f'<path class="frame" stroke-dasharray="5 4" d="M{x:.1f} {_y(0)}V{_y(1)}"/>'
            f'<text x="{x - 5:.1f}" y="{_y(0.96):.1f}" text-anchor="end">threshold {threshold:.2f}</text>'
        )
    steps = np.round(np.arange(np.ceil(low * 5) / 5, 1.01, 0.2), 1).tolist()
    marks = [((cosine - low) / (high - low), f"{cosine:.1f}") for cosine in steps]
    medians = [float(np.median(scores[own])) if own.any() else float("nan") for own in (targets, ~targets)]
    summary = f"Cosines of trials: median {medians[0]:.2f} of one voice, {medians[1]:.2f} of two voices"
    return _chart(parts, marks, [], "cosine", "share of the trials", summary)


def map_svg(flat: Plane, groups: Sequence[int], titles: Sequence[str], name: str) -> str:
    """A dot per item in the colour and shape of its group; those of no group lie below. At most 3000, drawn by lot."""
    order = np.random.default_rng(0).permutation(len(groups))[:MOST_DOTS]
    order = order[np.argsort([groups[i] != OTHER for i in order], kind="stable")]
    reach = float(np.abs(flat.places).max()) * 1.05 or 1.0
    parts = []
    for i in order:
        x, y = (0.5 + place / (2 * reach) for place in flat.places[i].tolist())
        colour = "other" if groups[i] == OTHER else f"c{groups[i] % COLOURS}"
        parts.append(
            f'<path class="dot {colour}" d="{_shape(groups[i])}" transform="translate({_x(x):.1f} {_y(y):.1f})"><title>{words(titles[i])}</title></path>'
        )
    summary = f"Map of {len(groups)} embeddings of {name}, the first two principal components"
    return _chart(parts, [], [], "", "", summary)


def mark(group: int) -> str:
    """A group's mark, for a legend."""
    colour = "other" if group == OTHER else f"c{group % COLOURS}"
    return f'<svg viewBox="-6 -6 12 12" aria-hidden="true"><path class="dot {colour}" d="{_shape(group)}"/></svg>'


def _shape(group: int) -> str:
    return SHAPES[0] if group == OTHER else SHAPES[(group + group // COLOURS) % len(SHAPES)]


def _chart(
    parts: Sequence[str],
    x_marks: Sequence[tuple[float, str]],
    y_marks: Sequence[tuple[float, str]],
    x_name: str,
    y_name: str,
    summary: str,
) -> str:
    """A square with its axes; a screen reader reads the summary."""
    has_axes = bool(x_name)
    left, below = (LEFT, 42) if has_axes else (LEFT, 0)
    grid = [f'<path class="grid" d="M{_x(x):.1f} {TOP}v{SIDE}"/>' for x, _ in x_marks]
    grid += [f'<path class="grid" d="M{LEFT} {_y(y):.1f}h{SIDE}"/>' for y, _ in y_marks]
    texts = [
        f'<text class="n" x="{_x(x):.1f}" y="{TOP + SIDE + 16}" text-anchor="middle">{name}</text>'
        for x, name in x_marks
    ]
    texts += [
        f'<text class="n" x="{LEFT - 6}" y="{_y(y) + 4:.1f}" text-anchor="end">{name}</text>' for y, name in y_marks
    ]
    texts.append(
        f'<text class="t" x="{_x(0.5)}" y="{TOP + SIDE + 36}" text-anchor="middle">{x_name}</text>' if x_name else ""
    )
    turned = f'transform="translate(13 {_y(0.5)}) rotate(-90)" text-anchor="middle"'
    texts.append(f'<text class="t" {turned}>{y_name}</text>' if y_name else "")
    box = (
        f"0 0 {left + SIDE + 14} {TOP + SIDE + below + 2}"
        if has_axes
        else f"{left - 2} {TOP - 2} {SIDE + 4} {SIDE + 4}"
    )
    frame = f'<rect class="frame" x="{LEFT}" y="{TOP}" width="{SIDE}" height="{SIDE}"/>'
    return (
        f'<svg viewBox="{box}" role="img" aria-label="{words(summary)}">'
        f"{''.join(grid)}{frame}{''.join(parts)}{''.join(texts)}</svg>"
    )


def _x(share: float) -> float:
    return LEFT + SIDE * share


def _y(share: float) -> float:
    return TOP + SIDE * (1 - share)
