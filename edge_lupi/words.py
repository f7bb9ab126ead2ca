"""Words from outside: what may become a path, what may reach a terminal, what a script reads as JSON.

A corpus, a recipe, a bundle or a gallery may come from a stranger. `folder_word` is the one pattern for whatever becomes
the name of a file or folder, `printable` the one way of such text to a terminal, `json_text` the one to a script.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from edge_lupi.errors import InputError

__all__ = ["composed", "folder_word", "json_text", "json_value", "number", "numbers_or_none", "printable"]

LONGEST_WORD = 64
_FOLDER_WORD = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST_WORD - 1}}}")
_JOINERS = "\u200c\u200d"  # zero width, which Persian, Hindi and other scripts spell with


def folder_word(word: str, what: str) -> str:
    """The word, if it may name a file or folder inside one of ours; `what` says what it is. Raises InputError."""
    if not isinstance(word, str) or not _FOLDER_WORD.fullmatch(word):
        raise InputError(
            f"expected {what} of 1 to {LONGEST_WORD} letters, digits, dots, dashes and underscores, beginning with a letter or digit, got {printable(str(word))[:80]!r}: rename it"
        )
    return word


def composed(text: str) -> str:
    """Unicode NFC: letters that look the same are the same, however a keyboard or a file system spells them."""
    return unicodedata.normalize("NFC", text)


def printable(text: str) -> str:
    """Text that moves no cursor, rings no bell and turns no line around: everything else is escaped as in Python."""
    return "".join(letter if letter.isprintable() or letter in _JOINERS else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def number(value: Any, low: float, high: float) -> float:
    """A number from a file. Raises ValueError for anything else: a bool, NaN, one of 400 digits."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ValueError(f"expected a number from {low} to {high}, got {printable(f'{value!r:.40}')}")
    return float(value)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON in ASCII, which every terminal, locale and parser takes. Raises ValueError for NaN and infinity."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, indent=indent)


def numbers_or_none(value: Any) -> Any:
    """The same, with None for NaN and infinity, which JSON lacks."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: numbers_or_none(item) for key, item in value.items()}
    return [numbers_or_none(item) for item in value] if isinstance(value, (list, tuple)) else value


def json_value(data: bytes) -> Any:
    """What JSON of a stranger says. Raises ValueError: no JSON, too deep, NaN, infinity, or text that is no Unicode."""
    try:
        value = json.loads(data.decode("utf-8"))
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")  # a lone surrogate has no bytes
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return value
