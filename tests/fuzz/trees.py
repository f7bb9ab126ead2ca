"""Edits of a JSON tree that random bytes choose: what is no JSON ends at the first brace, and says nothing of the rest."""

from __future__ import annotations

import copy
import json
from typing import Any

NASTY: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 0.5, -0.5, 1e308, 1 << 31, 1 << 63, 10**400, float("nan"), float("inf")),
    *("", " ", "a", "..", "../../x", "/dev/zero", "\0", "\x1b[2J", "\ud800", "9" * 400, "a" * 70_000, "unknown"),
    *([], {}, [[]], [None], {"": {}}, [1.0, 0.0], ["a", "b"], json.loads("[" * 200 + "]" * 200)),
)


def edited_tree(seed: bytes, data: bytes) -> bytes:
    """The JSON `seed` after as many edits as `data` has threes of bytes: which place, how deep, what is put there."""
    tree = copy.deepcopy(json.loads(seed))
    for place, deep, what in zip(data[0:60:3], data[1:60:3], data[2:60:3], strict=False):
        tree = _edited(tree, place, deep % 6, what)
    return json.dumps(tree).encode("utf-8", "surrogatepass")


def _edited(tree: Any, place: int, deep: int, what: int) -> Any:
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    if not keys or not deep:
        return copy.deepcopy(NASTY[what % len(NASTY)])
    key = keys[place % len(keys)]
    if deep == 1 and what > 240:  # left out
        tree.pop(key)
    elif deep == 1 and what > 225 and isinstance(tree, dict):  # under another name
        tree[str(NASTY[place % len(NASTY)])[:300]] = tree.pop(key)
    else:
        tree[key] = _edited(tree[key], place // len(keys) + what, deep - 1, what)
    return tree
