"""Does a student that only hears become better because its teacher could see? RAVDESS, five subject folds, three seeds.

    EDGE_LUPI_DATA=... python benchmarks/lupi_gain.py [--seeds 3] [--folds all] [--jobs 0]

Trains every arm of train/emotion_lupi.toml (taken up again after a kill, in runs/emotion_lupi) and writes
results/lupi_gain.json, lupi_gain.md and its plots. Another recipe with arms: --recipe FILE --name NAME.
"""

import argparse
import json
import platform
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot

from edge_lupi.train.sweep.plan import load_plan
from edge_lupi.train.sweep.report import plain_summary, plot_gains, table
from edge_lupi.train.sweep.run import chosen_arms, chosen_folds, run_sweep

HERE = Path(__file__).parent


def plot_recall(arms: dict, path: Path) -> None:
    shown = [arm for arm in ("teacher", "audio", "soft", "embed-mse", "embed") if arm in arms] or list(arms)[:4]
    labels = list(arms[shown[0]]["recall"])
    figure, axis = pyplot.subplots(figsize=(9, 3.2))
    width = 0.8 / len(shown)
    for number, arm in enumerate(shown):
        heights = [100 * arms[arm]["recall"][label] for label in labels]
        axis.bar(np.arange(len(labels)) + number * width, heights, width, label=arm)
    axis.set_xticks(np.arange(len(labels)) + 0.4 - width / 2, labels)
    axis.set_ylabel("recall, %")
    axis.legend()
    save(figure, path)


def plot_distance(arms: dict, path: Path) -> None:
    shown = {arm: row["distance"] for arm, row in arms.items() if row["distance"] is not None}
    figure, axis = pyplot.subplots(figsize=(6, 0.35 * len(shown) + 1))
    axis.barh(list(shown), list(shown.values()))
    axis.invert_yaxis()
    axis.set_xlabel("squared distance to the teacher's embedding, in its variance (unheard speakers)")
    save(figure, path)


def save(figure: pyplot.Figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--recipe", type=Path, default=HERE.parent / "train" / "emotion_lupi.toml")
    parser.add_argument("--name", default="lupi_gain")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--folds", default="all")
    parser.add_argument("--arms")
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--set", action="append", default=[])
    asked = parser.parse_args()
    plan = load_plan(asked.recipe, asked.set)
    began = time.monotonic()
    summary = run_sweep(
        plan,
        chosen_arms(plan, asked.arms),
        chosen_folds(plan, asked.folds),
        range(asked.first_seed, asked.first_seed + asked.seeds),
        Path("runs") / plan.recipe.name,
        jobs=asked.jobs,
    )
    results = HERE / "results"
    plot_gains(summary, results / f"{asked.name}_gain.png")
    plain = plain_summary(summary)
    plot_recall(plain["clean"], results / f"{asked.name}_recall.png")
    plot_distance(plain["clean"], results / f"{asked.name}_distance.png")
    flat = plain["clean"] if len(plain) == 1 else plain
    (results / f"{asked.name}.json").write_text(json.dumps(flat, indent=1) + "\n")
    rows = plain["clean"].values()
    trainings = sum(len(row["seeds"]) * len(row["folds"]) for row in rows)
    spent = sum(row["seconds"] * len(row["seeds"]) * len(row["folds"]) for row in rows)
    words = [
        f"# {asked.recipe.stem}",
        "",
        table(summary),
        f"{trainings} trainings, {spent / 3600:.1f} h of one process in all, on {platform.machine()}"
        f" ({next(iter(rows))['utterances']} test utterances; 95 % intervals over speakers and seeds).",
        "",
        *(f"![{what}]({asked.name}_{what}.png)" for what in ("gain", "recall", "distance")),
        "",
    ]
    (results / f"{asked.name}.md").write_text("\n".join(words))
    print(table(summary))
    print(f"{(time.monotonic() - began) / 60:.1f} min in this run")


if __name__ == "__main__":
    main()
