"""A new corpus of ten people (EmoDB): learnt on from the shipped student, and from nothing. -> results/fine_tuning.json, .md.

    python benchmarks/fine_tuning.py emotion --folds 5 --epochs 60 --on validation    # for choosing a length
    python benchmarks/fine_tuning.py emotion speaker --folds 2 --epochs 20

Both learn equally long, at the rates of train/my_own.toml and my_own_labels.toml. Every speaker is tested once, by students
that have not heard them; a training runs on one thread. What was measured before stays in the table beside it.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "fine_tuning.json"
RECIPES = {"emotion": "my_own_labels.toml", "speaker": "my_own.toml"}
PATTERNS = {"emotion": "{speaker}/{label}/*", "speaker": "{speaker}/*/*"}
COMMANDS = (
    "python benchmarks/fine_tuning.py emotion speaker --folds 2 --epochs 20",
    "python benchmarks/fine_tuning.py emotion --folds 2 --epochs 60",
)
AS_IT_IS = "the shipped student as it is"  # of emotions it has other labels
STARTED = "from the shipped student"
ARMS = {STARTED: [], "from nothing": ['student.start_from=""', "student.rate=3e-3"]}


def people(data: Path, folder: Path) -> Path:
    """EmoDB as a folder of one's own: people/<actor>/<emotion>/*.flac."""
    with (data / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            place = folder / row["speaker"] / row["label"]
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(data / row["audio"], place)
    return folder


def arms_of(task: str) -> list[str]:
    """What is compared."""
    return [AS_IT_IS, *ARMS] if task == "speaker" else list(ARMS)


def recipe_of(task: str, arm: str, root: Path, *changes: str) -> Any:
    """The recipe of an arm."""
    from edge_lupi.train.recipe import load_recipe

    where = [f'data.root="{root}"', f'data.pattern="{PATTERNS[task]}"']
    return load_recipe(ROOT / "train" / RECIPES[task], [*where, *ARMS.get(arm, []), *changes])


def one(
    task: str, arm: str, epochs: int, speakers: tuple[str, ...], root: Path, place: Path, side: str
) -> dict[str, Any]:
    """One fold of one arm: what it says of the speakers on that side, and the minutes of its training."""
    import torch

    from edge_lupi.train.examples.corpus import prepare
    from edge_lupi.train.stages.student import train_student
    from edge_lupi.train.sweep.leave_one_out import measured

    torch.set_num_threads(1)
    recipe = recipe_of(task, arm, root, f"data.test={list(speakers)}", f"student.epochs={epochs}")
    parts = prepare(recipe)
    began = time.process_time()
    path = ROOT / recipe.student.start_from if arm == AS_IT_IS else train_student(recipe, parts, place)
    minutes = (time.process_time() - began) / 60
    looked_at = parts if side == "test" else replace(parts, split=replace(parts.split, test=parts.split.validation))
    return {"measured": measured(path, looked_at), "minutes": minutes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+", choices=RECIPES)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--on", choices=("test", "validation"), default="test")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("EDGE_LUPI_DATA", ".")) / "emodb")
    parser.add_argument("--out", type=Path, default=Path("runs/fine_tuning"))
    asked = parser.parse_args()
    out, data = asked.out.resolve(), asked.data.resolve()
    os.chdir(ROOT)  # the recipes name the shipped students from here
    root = people(data, out / "people")
    speakers = sorted(path.name for path in root.iterdir())
    folds = [tuple(speakers[number :: asked.folds]) for number in range(asked.folds)]
    with ProcessPoolExecutor(asked.jobs, get_context("spawn")) as pool:
        running = {
            (task, arm): [
                pool.submit(one, task, arm, asked.epochs, fold, root, place / f"{number}_of_{asked.folds}", asked.on)
                for number, fold in enumerate(folds)
            ]
            for task in asked.tasks
            for arm in arms_of(task)
            for place in [out / task / f"{arm} {asked.epochs}"]
        }
        found = {key: [future.result() for future in futures] for key, futures in running.items()}
    tell(found, root, asked.folds, asked.epochs, keep=asked.on == "test")


def tell(
    found: dict[tuple[str, str], list[dict[str, Any]]], root: Path, folds: int, epochs: int, *, keep: bool
) -> None:
    """The table, and the results beside those of earlier runs."""
    from edge_lupi.train.examples.corpus import prepare
    from edge_lupi.train.sweep.leave_one_out import pooled

    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for (task, arm), rows in found.items():
        report = pooled(prepare(recipe_of(task, arm, root)), [row["measured"] for row in rows])
        name = arm if arm == AS_IT_IS else f"{arm}, {epochs} epochs"
        results.setdefault(task, {})[name] = {
            "folds": folds,
            "minutes_of_a_training": round(sum(row["minutes"] for row in rows) / folds, 2),
            "told": report.text().splitlines()[0],
            **report.plain(),
        }
    if keep:
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        RESULTS.with_suffix(".md").write_text("\n".join(page(results)))
    print("\n".join(page(results)))


def page(results: dict[str, dict[str, Any]]) -> list[str]:
    """fine_tuning.md."""
    lines = [
        "# fine_tuning",
        "",
        "EmoDB: ten German actors, 535 clips, one to two and a half minutes each. Every speaker is tested once.",
        "",
        "| task | student | folds | on people it has not heard | minutes of one thread |",
        "|---|---|---|---|---|",
    ]
    for task, arms in results.items():
        for arm, row in arms.items():
            lines.append(f"| {task} | {arm} | {row['folds']} | {row['told']} | {row['minutes_of_a_training']:.1f} |")
    return [*lines, "", *(f"    {line}" for line in COMMANDS), ""]


if __name__ == "__main__":
    main()
