"""The arms that are compared in benchmarks/results/speaker_ablation.md have the same budget."""

from pathlib import Path

from edge_lupi.train.recipe.recipe import load_recipe
from edge_lupi.train.sweep.plan import load_plan

RECIPE = Path(__file__).resolve().parents[2] / "train" / "speaker_ablation.toml"
RECORDINGS = {"clean.csv": 200, "disturbed.csv": 560}  # of the tables that benchmarks/speaker_ablation.py makes


def test_every_arm_hears_as_many_crops() -> None:
    crops = []
    for arm in load_plan(RECIPE).arms.values():
        recipe = load_recipe(RECIPE, arm.set)
        heard = RECORDINGS[Path(recipe.data.root).name] * len(recipe.augment.speeds)
        crops.append(heard * recipe.student.epochs)
    assert max(crops) < 1.1 * min(crops)
