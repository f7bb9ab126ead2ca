"""HTML of a report: words, tables, figures and the page around them. No script; nothing is asked of anybody else.

A corpus, a bundle and their names may come from a stranger: every word goes through `words`, and a content security
policy lets the page load nothing but the sounds and pictures that it holds itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Union

from edge_lupi.evaluate.html_report.style import STYLE
from edge_lupi.metrics.bootstrap import Interval
from edge_lupi.words import printable

__all__ = ["POLICY", "Cell", "Row", "figure", "legend", "page", "percent", "section", "table", "words"]

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; form-action 'none'; base-uri 'none'"
)


@dataclass(frozen=True)
class Cell:
    """A cell of a table: HTML, how dark it is from 0 to 1, and whether it is the row's head."""

    html: str
    shade: float | None = None
    is_head: bool = False
    is_right: bool = False


Row = Sequence[Union[Cell, str]]


def words(text: object) -> str:
    """Text as HTML: it can neither open a tag nor leave an attribute, turn lines around or break them."""
    return escape(printable(str(text)))


def percent(interval: Interval) -> str:
    """A share with its interval."""
    return f"{100 * interval.value:.1f} % <small>{100 * interval.low:.1f} to {100 * interval.high:.1f}</small>"


def table(caption: str, head: Sequence[str], rows: Sequence[Row], name: str = "") -> str:
    """Head and cells are HTML. What is wider than the screen scrolls, also by keyboard."""
    heads = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{words(caption)}"><table class="{name}">'
        f"<caption>{words(caption)}</caption><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(cell: Cell | str) -> str:
    if isinstance(cell, str):
        return f"<td>{cell}</td>"
    if cell.is_head:
        return f'<th scope="row">{cell.html}</th>'
    if cell.shade is None:
        return f"<td>{cell.html}</td>"
    kind = "right" if cell.is_right else "wrong"
    return f'<td class="shade {kind}" style="--shade:{cell.shade:.2f}">{cell.html}</td>'


def figure(svg: str, caption: str) -> str:
    """A picture, and what it says in a sentence (HTML)."""
    return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>"


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """Marks (SVG) and what they stand for (HTML)."""
    return f'<ul class="legend">{"".join(f"<li>{mark}{text}</li>" for mark, text in entries)}</ul>'


def section(title: str, *parts: str) -> str:
    """A part of the page under a heading."""
    return f"<section><h2>{words(title)}</h2>{''.join(parts)}</section>"


def page(title: str, lead: str, sections: Sequence[str]) -> str:
    """The whole file."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{words(title)}</title><style>{STYLE}</style></head>"
        f"<body><header><h1>{words(title)}</h1>{lead}</header><main>{''.join(sections)}</main></body></html>\n"
    )
