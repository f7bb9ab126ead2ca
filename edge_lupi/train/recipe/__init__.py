"""Training recipes: one TOML file, one frozen dataclass for each of its sections. No torch."""

from edge_lupi.train.recipe.recipe import (
    AugmentRecipe,
    Course,
    DataRecipe,
    DistilRecipe,
    QatRecipe,
    Recipe,
    SegmentRecipe,
    StudentRecipe,
    TeacherRecipe,
    load_recipe,
    recipe_from_plain,
)

__all__ = [
    "AugmentRecipe",
    "Course",
    "DataRecipe",
    "DistilRecipe",
    "QatRecipe",
    "Recipe",
    "SegmentRecipe",
    "StudentRecipe",
    "TeacherRecipe",
    "load_recipe",
    "recipe_from_plain",
]
