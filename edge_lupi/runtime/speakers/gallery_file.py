"""Gallery file: known speakers as bytes, and back. Reading trusts nothing and bounds everything; what is packed can be read.

JSON. Version 2 has the unit vectors of a person as base64 of float32 [n, D], little-endian; version 1, which is still
read, had them as lists of numbers, some three times as long. `narrow_band` names those enrolled from telephone speech,
`averages` holds the average voices of some, to a student with labels (see `averages`); a file may lack both.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lupi.disk import read_bounded
from edge_lupi.errors import InputError
from edge_lupi.runtime.speakers.averages import Averages
from edge_lupi.words import json_text, printable

__all__ = ["MAX_DIMENSION", "MAX_EXEMPLARS", "MAX_PEOPLE", "Stored", "check_exemplars", "packed", "read_gallery"]

FORMAT = "edge-lupi speakers"
VERSION = 2
MAX_PEOPLE = 1000
MAX_EXEMPLARS = 32
MAX_DIMENSION = 256  # students have up to 192
MAX_FINGERPRINT = 200
MAX_FILE_BYTES = 48 << 20  # everything at its most is 44.5 MB; as text with one wide letter it is four times that
MAX_NUMBERS = (
    MAX_PEOPLE * MAX_EXEMPLARS * 130
)  # in version 1: 1,000 people at 128 channels; Python needs 36 bytes for each
MAX_MARKS = 250_000  # lists, objects and quotes, also inside of names
UNIT_TOLERANCE = 1e-3

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Stored:
    """What a file holds: the student's fingerprint, names with exemplars [n, D] as they are written there, and of some more."""

    fingerprint: str
    people: list[tuple[str, Array]]
    narrow: frozenset[str] = frozenset()
    averages: Averages = field(default_factory=Averages)


def packed(
    fingerprint: str, people: Mapping[str, Array], narrow: Collection[str] = (), averages: Averages | None = None
) -> bytes:
    """The bytes of a file. Raises InputError where they could not be read again."""
    _check_fingerprint(fingerprint)
    vectors = {name: base64.b64encode(people[name].astype("<f4").tobytes()).decode() for name in sorted(people)}
    width = next((exemplars.shape[1] for exemplars in people.values()), 0)
    content = {"format": FORMAT, "version": VERSION, "fingerprint": fingerprint, "width": width, "people": vectors}
    more = {"averages": averages.plain()} if averages is not None and averages.voices else {}
    return json_text({**content, "narrow_band": sorted(narrow), **more}).encode()


def read_gallery(path: Path) -> Stored:
    """What lies there. Neither names nor exemplars are checked yet. Raises InputError."""
    content = _content(path, read_bounded(path, MAX_FILE_BYTES, "a store of speakers"))
    try:
        if content.get("format") != FORMAT or content.get("version") not in (1, VERSION):
            raise InputError(f"not of version 1 or {VERSION}")
        fingerprint = content["fingerprint"]
        _check_fingerprint(fingerprint)
        people = content["people"].items()
        if content["version"] == 1:
            return Stored(fingerprint, [(name, _numbers(vectors)) for name, vectors in people])
        narrow = frozenset(content.get("narrow_band", ()))
        averages = Averages.from_plain(content["averages"]) if "averages" in content else Averages()
        found = [(name, _vectors(text, content["width"])) for name, text in people]
        return Stored(fingerprint, found, narrow, averages)
    except (InputError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> InputError:
    """What to say of a file that cannot be used."""
    return InputError(
        f"{printable(str(path))} is not a readable store of speakers ({_short(error)}): choose another file",
        options=("gallery",),
    )


def _short(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "no text"
    return "no JSON" if isinstance(error, json.JSONDecodeError) else printable(str(error))[:160]


def check_exemplars(exemplars: Array, dimension: int | None) -> None:
    """Refuse what are no unit vectors [n, D] of that width."""
    if exemplars.ndim != 2 or len(exemplars) == 0 or not 1 <= exemplars.shape[1] <= MAX_DIMENSION:
        raise InputError(
            f"expected exemplars of shape [n, D] with D at most {MAX_DIMENSION}, got {list(exemplars.shape)}"
        )
    if dimension is not None and exemplars.shape[1] != dimension:
        raise InputError(f"expected exemplars with {dimension} channels as the others have, got {exemplars.shape[1]}")
    if not np.all(np.abs(np.linalg.norm(exemplars, axis=1) - 1) <= UNIT_TOLERANCE):
        raise InputError("expected exemplars that are finite and of length 1")


def _content(path: Path, data: bytes) -> dict[str, Any]:
    """Counted before it is parsed: a list in Python takes twenty times its two brackets."""
    try:
        if data.count(b",") > MAX_NUMBERS or sum(data.count(mark) for mark in (b"[", b"{", b'"')) > MAX_MARKS:
            raise ValueError("more than people may have")
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from error
    if not isinstance(content, dict):
        raise damaged(path, ValueError("no JSON object"))
    return content


def _check_fingerprint(fingerprint: Any) -> None:
    if not isinstance(fingerprint, str) or not fingerprint.isprintable() or len(fingerprint) > MAX_FINGERPRINT:
        raise InputError(
            f"expected a student's fingerprint of at most {MAX_FINGERPRINT} printable characters, got {ascii(fingerprint)[:60]}"
        )


def _numbers(vectors: Any) -> Array:
    with np.errstate(over="ignore"):  # an infinite number is refused with its vector
        return np.array(vectors, np.float32)


def _vectors(text: str, width: int) -> Array:
    if type(width) is not int or not 1 <= width <= MAX_DIMENSION:
        raise ValueError(f"a width of {ascii(width)[:20]}")
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32).reshape(-1, width)
