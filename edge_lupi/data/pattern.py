"""Speaker and label from a file name: `Pattern("{speaker}/{label}_*").read("anna/happy_3")`.

| in a pattern             | stands for                                                          |
|--------------------------|---------------------------------------------------------------------|
| `{speaker}`, `{label}`   | letters up to the first text that follows in the pattern, one at least |
| `{speaker:2}`            | so many letters                                                     |
| `*`                      | letters that tell nothing, or none                                  |
| `?`                      | one letter that tells nothing                                       |
| `/`                      | a folder begins; nothing else reaches across it                     |

A path is read once, from left to right, and never gone back in: no pattern takes longer than its path is long.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edge_lupi.errors import InputError
from edge_lupi.words import composed, printable

__all__ = ["Pattern"]

LONGEST = 200
DEEPEST = 8  # folders
_PART = re.compile(r"\{(speaker|label)(?::([1-9][0-9]?))?\}|([*?])|([^{}*?]+)")


@dataclass(frozen=True)
class _Part:
    """Text, or a stretch of `width` letters (0: up to the text that follows) that is called `name`, or nothing."""

    text: str = ""
    name: str = ""
    width: int = 0
    fewest: int = 0


class Pattern:
    """A pattern of file names, without their ending. Raises InputError for one that cannot be read in one way only."""

    def __init__(self, text: str) -> None:
        self.text = text
        if not 0 < len(text) <= LONGEST or text.count("/") >= DEEPEST:
            raise self._fault(f"of at most {LONGEST} letters and {DEEPEST} folders")
        self.folders = [self._parts(folder) for folder in composed(text).split("/")]
        names = [part.name for parts in self.folders for part in parts if part.name]
        if len(set(names)) < len(names) or not names:
            raise self._fault("with {speaker} or {label}, each at most once")
        self.names = frozenset(names)

    @property
    def depth(self) -> int:
        """How many folders and files a path has."""
        return len(self.folders)

    def read(self, path: str) -> dict[str, str] | None:
        """`speaker` and `label` of a path without its ending; None where it does not fit."""
        pieces = composed(path).split("/")
        if len(pieces) != self.depth:
            return None
        found: dict[str, str] = {}
        for parts, piece in zip(self.folders, pieces, strict=True):
            of_folder = _read(parts, piece)
            if of_folder is None:
                return None
            found |= of_folder
        return found

    def _parts(self, folder: str) -> list[_Part]:
        parts: list[_Part] = []
        at = 0
        while at < len(folder):
            match = _PART.match(folder, at)
            if match is None:
                raise self._fault("with braces around speaker or label only, as {speaker} or {label:2}")
            name, width, wildcard, text = match.groups()
            free = wildcard == "*" or (name is not None and width is None)
            if parts and not parts[-1].text and not parts[-1].width and not text:
                raise self._fault("with text after {speaker}, {label} or *, or with their number of letters")
            fewest = 0 if wildcard == "*" else 1
            parts.append(_Part(text or "", name or "", 0 if free or text else int(width or 1), fewest))
            at = match.end()
        if not parts:
            raise self._fault("without empty folders")
        return parts

    def _fault(self, expected: str) -> InputError:
        shown = printable(self.text)[:80]
        return InputError(f"expected a pattern {expected}, got {shown!r}: write one such as {{speaker}}/{{label}}_*")


def _read(parts: list[_Part], piece: str) -> dict[str, str] | None:
    fields, at = {}, 0
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        end = at + (len(part.text) or part.width)
        if not part.text and not part.width:
            end = _free_end(piece, at + part.fewest, following, last=following is parts[-1])
        taken = piece[at:end]
        if not at <= end <= len(piece) or len(taken) < part.fewest or part.text not in ("", taken):
            return None
        if part.name:
            fields[part.name] = taken
        at = end
    return fields if at == len(piece) else None


def _free_end(piece: str, earliest: int, following: _Part | None, *, last: bool) -> int:
    """Where a stretch of any length ends: at the text that follows, which where it is the last stands at the end."""
    if following is None:
        return len(piece)
    return len(piece) - len(following.text) if last else piece.find(following.text, earliest)
