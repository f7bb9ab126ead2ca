"""Names of people: one spelling for what looks the same, nothing that moves a cursor or hides."""

from __future__ import annotations

import re
import unicodedata

from edge_lupi.errors import InputError
from edge_lupi.words import composed

__all__ = ["checked_name"]

LONGEST = 60
JOINERS = "\u200c\u200d"  # zero width, which Persian, Hindi and other scripts spell with
_RESERVED = re.compile(r"unknown|speaker\s*\d+", re.IGNORECASE)


def checked_name(name: str) -> str:
    """The name in Unicode NFC. Raises InputError where it cannot be one."""
    found = composed(name)
    printable = all(letter.isprintable() or _joins(found, index) for index, letter in enumerate(found))
    reserved = _RESERVED.fullmatch(unicodedata.normalize("NFKC", found))
    if not 1 <= len(found) <= LONGEST or found != found.strip() or not printable or reserved:
        raise InputError(
            f"expected a name of 1 to {LONGEST} printable characters other than 'unknown' and 'speaker 1', got {ascii(name)[:200]}"
        )
    return found


def _joins(name: str, index: int) -> bool:
    """Whether a joiner stands there between two letters (or their marks); elsewhere it only hides."""
    around = name[index - 1 : index] + name[index + 1 : index + 2]
    return (
        name[index] in JOINERS
        and len(around) == 2
        and all(unicodedata.category(letter)[0] in "LM" for letter in around)
    )
