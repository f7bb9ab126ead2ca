"""Training recipe: one TOML file -> frozen dataclasses. A wrong key or value is one sentence; nothing is guessed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edge_lupi.data.sight import Sight
from edge_lupi.errors import InputError
from edge_lupi.settings import make, read_toml, shown
from edge_lupi.train.recipe.augment import ON_SAMPLES, AugmentRecipe
from edge_lupi.train.recipe.data import DataRecipe
from edge_lupi.train.recipe.distil import DistilRecipe
from edge_lupi.train.recipe.qat import QatRecipe
from edge_lupi.train.recipe.segments import SegmentRecipe
from edge_lupi.train.recipe.student import StudentRecipe
from edge_lupi.train.recipe.teacher import TeacherRecipe
from edge_lupi.train.recipe.teachers import PretrainedTeacherRecipe
from edge_lupi.train.recipe.voice import VoiceRecipe
from edge_lupi.train.recipe.wccn import WccnRecipe
from edge_lupi.words import folder_word

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Recipe", "load_recipe", "recipe_from_plain"]


@dataclass(frozen=True)
class Recipe:
    """Everything a training depends on, besides the data."""

    name: str
    data: DataRecipe
    seed: int = 0
    segments: SegmentRecipe = field(default_factory=SegmentRecipe)
    teacher: TeacherRecipe = field(default_factory=TeacherRecipe)
    student: StudentRecipe = field(default_factory=StudentRecipe)
    distil: DistilRecipe = field(default_factory=DistilRecipe)
    qat: QatRecipe = field(default_factory=QatRecipe)
    augment: AugmentRecipe = field(default_factory=AugmentRecipe)
    teachers: tuple[PretrainedTeacherRecipe, ...] = ()
    voice: VoiceRecipe = field(default_factory=VoiceRecipe)
    wccn: WccnRecipe = field(default_factory=WccnRecipe)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 1 << 31:
            raise InputError(f"expected a seed of 0 to {(1 << 31) - 1}, got {self.seed}")
        on = [key for key in ON_SAMPLES if getattr(self.augment, key)]
        if on and self.data.sound != "samples":
            raise InputError(f'expected data.sound = "samples" for augment.{on[0]}, got {self.data.sound!r}: set it')
        if self.data.sound == "samples" and self.augment.mixup:
            raise InputError(
                f'expected augment.mixup = 0 where data.sound = "samples", got {self.augment.mixup}: leave one out'
            )
        if self.voice.prior and self.augment.mixup:
            raise InputError("expected augment.mixup = 0 beside voice.prior, as two voices mixed are none")

    def sight(self, kind: str | None = None) -> Sight:
        """What an eye is shown: of teacher.video, or of another kind of video."""
        return self.teacher.sight(self.segments.segmentation, self.teacher.video if kind is None else kind)

    def plain(self) -> dict[str, Any]:
        """Dicts, lists, strings and numbers only."""
        result: dict[str, Any] = _plain(asdict(self))
        return result

    def chosen(self) -> dict[str, Any]:
        """What differs from the defaults, as plain content: what a key that is new in edge-lupi leaves as it was."""
        return _differing(self.plain(), _plain(asdict(Recipe(self.name, DataRecipe("", "", "")))))


def _differing(content: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in content.items() if value != usual[key]}
    return {key: _differing(value, usual[key]) if isinstance(value, dict) else value for key, value in found.items()}


def load_recipe(path: str | Path, changes: Sequence[str] | None = None) -> Recipe:
    """Read a recipe; `changes` such as "student.epochs=3" come on top, their values written as in TOML."""
    content = read_toml(path)
    for key in ("sweep", "arms"):  # see edge_lupi.train.sweep.plan
        content.pop(key, None)
    for change in changes or []:
        _apply(content, change)
    found = make(Recipe, content, str(path), "")
    folder_word(found.name, "a recipe's name")  # it becomes a folder
    return found


def recipe_from_plain(content: object) -> Recipe:
    """A recipe from what `Recipe.plain` gave, as a trained file carries it."""
    return make(Recipe, content, "the trained file", "")


def _apply(content: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals or not key.strip():
        raise InputError(f"expected a change as section.key=value, got {shown(change)}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()
    *sections, last = key.strip().split(".")
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise InputError(f"expected a change of a section's key, got {shown(change)}")
    content[last] = value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
