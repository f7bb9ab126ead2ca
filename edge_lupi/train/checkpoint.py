"""Whose checkpoint is it? A recipe in, its digest out; a checkpoint of another recipe is refused before a corpus is loaded."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from edge_lupi.disk import kind_of, read_bounded
from edge_lupi.errors import InputError

__all__ = ["LARGEST_BYTES", "of_another", "recipe_digest", "refuse_other_recipe"]

LARGEST_BYTES = 1 << 32


def refuse_other_recipe(checkpoint: Path, recipe: Mapping[str, Any]) -> None:
    """Raises InputError where a checkpoint is of another recipe; whether the corpus is the same, `fit` sees once it is loaded."""
    kept = _kept_digest(checkpoint) if kind_of(checkpoint) == "file" else ""
    if kept not in ("", recipe_digest(recipe)):
        raise of_another(checkpoint, "recipe")


def of_another(checkpoint: Path, what: str) -> InputError:
    """What to say of a checkpoint that must not be taken up."""
    return InputError(
        f"{checkpoint} belongs to another {what}: start over, or choose another folder", options=("fresh", "out")
    )


def recipe_digest(recipe: Any) -> str:
    """sha256 of a recipe as plain values, but for the name of the file that a student begins with: what lies there counts."""
    plain = recipe
    if isinstance(recipe, Mapping) and "student" in recipe:
        plain = {**recipe, "student": {**recipe["student"], "start_from": ""}}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _kept_digest(checkpoint: Path) -> str:
    """Empty where it cannot be told: of an earlier version, or damaged, which `fit` says."""
    with suppress(Exception):  # torch raises many kinds
        content = io.BytesIO(read_bounded(checkpoint, LARGEST_BYTES, "a checkpoint"))
        return str(torch.load(content, map_location="cpu", weights_only=True)["recipe"])
    return ""
