"""The arms that are compared in benchmarks/results/speaker_ablation.md have the same budget."""

from pathlib import Path

from edge_lupi.train.arms import load_plan
from edge_lupi.train.recipe import load_recipe

RECIPE = Path(__file__).resolve().parents[2] / "train" / "speaker_ablation.toml"
VERSIONS = {"clean.csv": 1, "disturbed.csv": 3}  # of every recording


def test_every_arm_hears_as_many_crops() -> None:
    crops = set()
    for arm in load_plan(RECIPE).arms.values():
        recipe = load_recipe(RECIPE, arm.set)
        heard = VERSIONS[Path(recipe.data.root).name] * len(recipe.augment.speeds)
        crops.add(heard * recipe.student.epochs)
    assert len(crops) == 1
