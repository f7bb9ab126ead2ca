"""Training curves: a training's history in, `<name>.curves.svg` beside it, and TensorBoard's events where that is installed.

A small picture for every part of the loss and everything that was measured on held-out voices, as their sizes differ. The
picture is one file that any browser opens; `tensorboard --logdir OUT` shows the same as it grows, beside other trainings.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edge_lupi.train.examples.keep import keep
from edge_lupi.words import printable

__all__ = ["Curves", "curves_svg"]

log = logging.getLogger(__name__)
WIDTH, HEIGHT, LEFT, TOP, BELOW, COLUMNS = 260, 150, 56, 34, 30, 3
STYLE = (
    "svg{color:#17202b;background:#fff}path{stroke:#0a5f9c;fill:none;stroke-width:2}rect{fill:none;stroke:#9aa5b1}"
    "text{font:12px system-ui,sans-serif;fill:currentColor}.t{font-weight:600}.s{opacity:.7}"
    "@media(prefers-color-scheme:dark){svg{color:#e7ebf0;background:#12161c}path{stroke:#6db8f2}}"
)


class Curves:
    """Those of one training, drawn anew after every epoch; `begun` epochs were there before."""

    def __init__(self, folder: Path, name: str, begun: int = 0) -> None:
        self._file, self._name = folder / f"{name}.curves.svg", name
        self._writer = _tensorboard(folder / "tensorboard" / name, begun)

    def show(self, history: Sequence[Mapping[str, float]]) -> None:
        """The history so far; its last epoch is new."""
        keep(self._file, curves_svg(self._name, history).encode())
        if self._writer is not None:
            for part, value in history[-1].items():
                self._writer.add_scalar(part, value, len(history))
            self._writer.flush()

    def close(self) -> None:
        """Let go of TensorBoard's file."""
        if self._writer is not None:
            self._writer.close()


def _tensorboard(folder: Path, begun: int) -> Any:
    """What writes TensorBoard's events, or None where it is not installed; later steps of an earlier run no longer count."""
    if find_spec("tensorboard") is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(folder), purge_step=begun + 1)
    except (ImportError, AttributeError, TypeError, OSError) as error:  # of another time than this torch, or no room
        log.warning(f"TensorBoard's events are not written ({error}): the curves are in the picture")
        return None


def curves_svg(name: str, history: Sequence[Mapping[str, float]]) -> str:
    """A picture for each figure of the epochs, as one SVG; those that are no numbers are left out."""
    parts = list(dict.fromkeys(part for epoch in history for part in epoch))
    columns = min(COLUMNS, max(1, len(parts)))
    rows = math.ceil(len(parts) / columns)
    width, height = columns * (LEFT + WIDTH + 20), 30 + rows * (TOP + HEIGHT + BELOW)
    title = f"{name}, {len(history)} epochs"
    panels = [
        f'<g transform="translate({place % columns * (LEFT + WIDTH + 20)} {30 + place // columns * (TOP + HEIGHT + BELOW)})">'
        f"{_panel(part, [(number, epoch[part]) for number, epoch in enumerate(history, 1) if part in epoch], len(history))}</g>"
        for place, part in enumerate(parts)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{_shown(title)}">'
        f'<style>{STYLE}</style><text class="t" x="10" y="22">{_shown(title)}</text>{"".join(panels)}</svg>\n'
    )


def _panel(part: str, points: Sequence[tuple[int, float]], epochs: int) -> str:
    """One figure over the epochs, from its least to its largest."""
    finite = [(number, value) for number, value in points if math.isfinite(value)]
    head = f'<text class="t" x="{LEFT}" y="{TOP - 10}">{_shown(part)}</text><rect x="{LEFT}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}"/>'
    if not finite:
        return head
    low, high = min(value for _, value in finite), max(value for _, value in finite)
    span = high - low or 1.0
    places = [
        f"{LEFT + WIDTH * (number - 0.5) / epochs:.1f} {TOP + HEIGHT * (0.95 - 0.9 * (value - low) / span):.1f}"
        for number, value in finite
    ]
    line = f'<path d="M{"L".join(places)}{"h.1" if len(places) == 1 else ""}" stroke-linecap="round"/>'
    marks = [
        f'<text class="s" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>'
        for value, y in {high: TOP + 0.05 * HEIGHT, low: TOP + 0.95 * HEIGHT}.items()
    ]
    last = f'<text class="s" x="{LEFT + WIDTH}" y="{TOP - 10}" text-anchor="end">{finite[-1][1]:.4g}</text>'
    ends = f'<text class="s" x="{LEFT}" y="{TOP + HEIGHT + 16}">epoch 1</text><text class="s" x="{LEFT + WIDTH}" y="{TOP + HEIGHT + 16}" text-anchor="end">{epochs}</text>'
    return f"{head}{line}{''.join(marks)}{last}{ends}"


def _shown(text: str) -> str:
    return escape(printable(text))
