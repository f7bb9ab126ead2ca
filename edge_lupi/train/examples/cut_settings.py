"""Settings that are fixed when shards are cut: a recipe's, and whether opened shards fit another recipe."""

from __future__ import annotations

from edge_lupi.data.shards import Shards
from edge_lupi.errors import InputError
from edge_lupi.train.recipe import Recipe

__all__ = ["check_cut", "cut_settings"]


def cut_settings(recipe: Recipe) -> dict[str, object]:
    """What of a recipe is decided when shards are cut, by key."""
    if recipe.data.labelled_speakers != 1:
        raise InputError(
            f"expected data.labelled_speakers = 1 where a corpus is in shards, got {recipe.data.labelled_speakers}: train from the corpus itself"
        )
    if recipe.data.sound != "log-mel":
        raise InputError(
            f'expected data.sound = "log-mel" where a corpus is in shards, got {recipe.data.sound!r}: train from the corpus itself'
        )
    plain = recipe.plain()
    keys = ["data.task", "data.test", "data.validation_speakers", "data.speaker_dependent", "augment.speeds"]
    keys += [f"segments.{key}" for key in plain["segments"] if key not in ("setting", "every")]
    keys += [f"teacher.{key}" for key in ("video", "frame_size", "frames_per_second", "region")]
    return {key: plain[key.split(".")[0]][key.split(".")[1]] for key in keys}


def check_cut(recipe: Recipe, shards: Shards) -> None:
    """Refuse shards that were cut for another recipe. A recipe that looks at no video may have shards with it."""
    for key, wanted in cut_settings(recipe).items():
        found = shards.settings.get(key)
        if found != wanted and not (key.startswith("teacher.") and recipe.teacher.video == "none"):
            raise InputError(
                f"expected {key} = {found} as the shards in {shards.root} were cut, got {wanted}: change the recipe, or cut them again"
            )
