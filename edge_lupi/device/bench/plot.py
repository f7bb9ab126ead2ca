"""A picture of times per hop as SVG: how many hops were done after so many milliseconds (ECDF); no drawing library."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby
from math import ceil, floor, log10

import numpy as np
from numpy.typing import NDArray

__all__ = ["times_svg"]

WIDTH, HEIGHT, LEFT, TOP = 560, 320, 60, 50
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # Okabe and Ito: told apart by everybody
POINTS = 400  # of a curve: more would fall on one dot
Times = NDArray[np.float64]


def times_svg(title: str, curves: Sequence[tuple[str, Times]]) -> str:
    """Named times [n] in milliseconds, of one or more each -> a picture; the axis of times is logarithmic."""
    positive = [(name, np.maximum(np.sort(times), 1e-4)) for name, times in curves]
    low = floor(10 * log10(min(times[0] for _, times in positive))) / 10
    high = max(low + 0.1, ceil(10 * log10(max(times[-1] for _, times in positive))) / 10)
    width, height = LEFT + WIDTH + 30, TOP + HEIGHT + 55
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12" fill="none">',
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            f'<text x="{LEFT}" y="25" fill="#000" font-size="14">{escape(title)}</text>',
            *(_time_mark(ms, low, high) for ms in _marks(low, high)),
            *(_share_mark(share) for share in (0, 0.25, 0.5, 0.75, 0.9, 1)),
            f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" stroke="#000"/>',
            *(_curve(name, times, low, high, number) for number, (name, times) in enumerate(positive)),
            _text(LEFT + WIDTH / 2, height - 12, "ms per hop"),
            "</svg>\n",
        ]
    )


def _curve(name: str, times: Times, low: float, high: float, number: int) -> str:
    shares = np.unique(np.concatenate([np.linspace(0, 1, POINTS), 1 - np.geomspace(1 / len(times), 1, 50)]))
    places = (
        f"{_x(ms, low, high):.1f},{_y(share):.1f}" for ms, share in zip(np.quantile(times, shares), shares, strict=True)
    )
    points = " ".join(place for place, _ in groupby(places))
    colour = COLOURS[number % len(COLOURS)]
    label = f'<text x="{LEFT + WIDTH - 10}" y="{TOP + HEIGHT - 12 - 16 * number}" text-anchor="end" fill="{colour}">{escape(name)}</text>'
    return f'<polyline points="{points}" stroke="{colour}" stroke-width="2"/>{label}'


def _marks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of every power of ten between."""
    all_of_them = [digit * 10.0**power for power in range(floor(low), ceil(high) + 1) for digit in (1, 2, 5)]
    return [ms for ms in all_of_them if low <= log10(ms) <= high]


def _time_mark(ms: float, low: float, high: float) -> str:
    x = _x(ms, low, high)
    return f'<path d="M{x:.1f} {TOP}v{HEIGHT}" stroke="#ddd"/>' + _text(x, TOP + HEIGHT + 18, f"{ms:g}")


def _share_mark(share: float) -> str:
    label = f'<text x="{LEFT - 8}" y="{_y(share) + 4:.1f}" text-anchor="end" fill="#000">{100 * share:g} %</text>'
    return f'<path d="M{LEFT} {_y(share):.1f}h{WIDTH}" stroke="#ddd"/>{label}'


def _text(x: float, y: float, words: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" fill="#000">{words}</text>'


def _x(ms: float, low: float, high: float) -> float:
    return LEFT + WIDTH * (log10(ms) - low) / (high - low)


def _y(share: float) -> float:
    return TOP + HEIGHT * (1 - share)
