"""Training recipes: one TOML file, one frozen dataclass for each of its sections. No torch."""

from edge_lupi.train.recipe.also import AlsoRecipe
from edge_lupi.train.recipe.augment import AugmentRecipe
from edge_lupi.train.recipe.course import Course
from edge_lupi.train.recipe.data import DataRecipe
from edge_lupi.train.recipe.distil import DistilRecipe
from edge_lupi.train.recipe.qat import QatRecipe
from edge_lupi.train.recipe.recipe import Recipe, load_recipe, recipe_from_plain
from edge_lupi.train.recipe.segments import SegmentRecipe
from edge_lupi.train.recipe.student import StudentRecipe
from edge_lupi.train.recipe.teacher import TeacherRecipe
from edge_lupi.train.recipe.teachers import PretrainedTeacherRecipe
from edge_lupi.train.recipe.voice import VoiceRecipe
from edge_lupi.train.recipe.wccn import WccnRecipe

__all__ = [
    "AlsoRecipe",
    "AugmentRecipe",
    "Course",
    "DataRecipe",
    "DistilRecipe",
    "PretrainedTeacherRecipe",
    "QatRecipe",
    "Recipe",
    "SegmentRecipe",
    "StudentRecipe",
    "TeacherRecipe",
    "VoiceRecipe",
    "WccnRecipe",
    "load_recipe",
    "recipe_from_plain",
]
