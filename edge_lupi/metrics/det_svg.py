"""A detection error trade-off curve as SVG: Scores of trials in, text of a picture out, without a drawing library.

Both axes are warped by the inverse normal distribution, so that normal scores give straight lines (Martin et al. 1997,
"The DET curve in assessment of detection task performance").
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby
from statistics import NormalDist

from edge_lupi.metrics.verification import Det

__all__ = ["det_svg"]

RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
LEAST, MOST = 0.0005, 0.5
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito: told apart by everybody
SIDE, LEFT, TOP = 420, 70, 50


def det_svg(title: str, curves: Sequence[tuple[str, Det]], false_accepts: float | None = None) -> str:
    """A square picture of named curves; a dashed line at the false accept rate asked for."""
    marks = [_mark(rate) for rate in RATES]
    lines = [_line(name, curve, number) for number, (name, curve) in enumerate(curves)]
    asked = []
    if false_accepts is not None and LEAST < false_accepts < MOST:
        x = LEFT + SIDE * _place(false_accepts)
        asked = [f'<path d="M{x:.1f} {TOP}v{SIDE}" stroke="#555" stroke-dasharray="5 4"/>']
    width, height = LEFT + SIDE + 30, TOP + SIDE + 60
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12" fill="none">',
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            f'<text x="{LEFT}" y="25" fill="#000" font-size="14">{escape(title)}</text>',
            *marks,
            f'<rect x="{LEFT}" y="{TOP}" width="{SIDE}" height="{SIDE}" stroke="#000"/>',
            *asked,
            *lines,
            _text(LEFT + SIDE / 2, height - 12, "false accepts, %"),
            f'<g transform="rotate(-90 18 {TOP + SIDE / 2})">{_text(18, TOP + SIDE / 2, "false rejects, %")}</g>',
            "</svg>\n",
        ]
    )


def _line(name: str, curve: Det, number: int) -> str:
    """A curve, whose points that would fall on one dot are drawn once, and its name in its colour."""
    colour = COLOURS[number % len(COLOURS)]
    rates = zip(curve.false_accepts.tolist(), curve.false_rejects.tolist(), strict=True)
    places = (f"{LEFT + SIDE * _place(x):.1f},{TOP + SIDE * (1 - _place(y)):.1f}" for x, y in rates)
    points = " ".join(place for place, _ in groupby(places))
    label = f'<text x="{LEFT + SIDE - 10}" y="{TOP + 20 + 16 * number}" text-anchor="end" fill="{colour}">{escape(name)}</text>'
    return f'<polyline points="{points}" stroke="{colour}" stroke-width="2"/>{label}'


def _mark(rate: float) -> str:
    x, y = LEFT + SIDE * _place(rate), TOP + SIDE * (1 - _place(rate))
    grid = f'<path d="M{x:.1f} {TOP}v{SIDE}M{LEFT} {y:.1f}h{SIDE}" stroke="#ddd"/>'
    return (
        grid
        + _text(x, TOP + SIDE + 18, f"{100 * rate:g}")
        + f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#000">{100 * rate:g}</text>'
    )


def _text(x: float, y: float, words: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" fill="#000">{words}</text>'


def _place(rate: float) -> float:
    """Where a rate lies on an axis from 0 to 1."""
    warp = NormalDist().inv_cdf
    low, high = warp(LEAST), warp(MOST)
    return (warp(min(MOST, max(LEAST, rate))) - low) / (high - low)
