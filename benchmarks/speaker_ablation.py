"""What makes a speaker student know voices? Labels alone, CAM++ alone, both; without voices made by speed; without rooms and wires.

    python benchmarks/speaker_ablation.py [--campplus runs/campplus.onnx] [--arms both,labels]

Trains every arm of train/speaker_ablation.toml, one after the other, on as many crops, and writes results/speaker_ablation.md: equal
error rates of the float students by lists of speaker_conditions.py that no setting was chosen by, with the shipped bundle beside
them. Killed at any time, the same command goes on.

The two tables are of the 200 LibriSpeech readers who are not held out, each clean; disturbed.csv has two more versions of 180 of
them, in the surroundings of train/speaker_campplus.toml (the 20 whom that recipe chooses by are heard clean alone).
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from speaker_conditions import TO_TEST_BY, VALIDATION, Embed, by_bundle, rows, table

from edge_lupi.data.speech import read_speech
from edge_lupi.data.utterance import Utterance
from edge_lupi.device.processor import environment
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.train.examples.clips import heard_at_speed
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.examples.draw import Draw
from edge_lupi.train.recipe.augment import AugmentRecipe
from edge_lupi.train.recipe.recipe import Recipe, load_recipe
from edge_lupi.train.sounds.surroundings import Surroundings
from edge_lupi.train.stages.student import train_student
from edge_lupi.train.sweep.plan import load_plan
from edge_lupi.train.teachers.onnx_teacher import OnnxTeacher

HERE = Path(__file__).parent
RECIPE = HERE.parent / "train" / "speaker_ablation.toml"
WORK = Path("runs") / "speaker_ablation"
SHIPPED = HERE.parent / "edge_lupi" / "bundles" / "speaker.lupi"
SHIPPED_CROPS = "some 80,000"  # 180 voices at 3 speeds, 150 epochs
LISTS = ("3 s pieces", "RAVDESS neutral", "RAVDESS other moods")
VERSIONS = 2  # of every recording, beside the clean one
TOGETHER = 30  # recordings, of which babble is made
Samples = NDArray[np.float32]


def spoken(recipe: Recipe) -> tuple[list[tuple[Utterance, Samples]], list[tuple[Utterance, Samples]]]:
    """Training and validation readers, each with the sound without the silence around it."""
    parts = prepare(recipe).split
    train, validation = (
        [(one, read_speech(one, recipe.segments.trim_db)[0]) for one in part]
        for part in (parts.train, parts.validation)
    )
    return train, validation


def disturbed(sounds: Sequence[Samples], augment: AugmentRecipe, seed: int) -> Iterator[Samples]:
    """Every recording once in the surroundings of a recipe; a shorter one is said again until all are as long."""
    around = Surroundings(augment, seed, torch.device("cpu"))
    for start in range(0, len(sounds), TOGETHER):
        part = sounds[start : start + TOGETHER]
        longest = max(map(len, part))
        heard = around(torch.from_numpy(np.stack([np.resize(one, longest) for one in part])), Draw(seed + start))
        yield from (row[: len(one)].clamp(-1, 1).numpy() for row, one in zip(heard, part, strict=True))


def make_tables(folder: Path) -> None:
    """clean.csv and disturbed.csv with their sound, unless they are there."""
    if (folder / "disturbed.csv").exists():
        return
    recipe = load_recipe(VALIDATION)
    train, validation = spoken(recipe)
    (folder / "sound").mkdir(parents=True, exist_ok=True)
    clean = [
        _written(folder, f"{one.name}.wav", samples, one, split)
        for split, part in (("train", train), ("validation", validation))
        for one, samples in part
    ]
    more = [
        _written(folder, f"{one.name}.{version}.wav", samples, one, "train")
        for version in range(1, VERSIONS + 1)
        for (one, _), samples in zip(
            train, disturbed([samples for _, samples in train], recipe.augment, version), strict=True
        )
    ]
    for name, lines in (("clean.csv", clean), ("disturbed.csv", [*clean, *more])):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows([("audio", "label", "split"), *lines])


def _written(folder: Path, name: str, samples: Samples, one: Utterance, split: str) -> tuple[str, str, str]:
    audio = f"sound/{Path(name).name}"
    soundfile.write(folder / audio, samples, SAMPLE_RATE_HZ, subtype="PCM_16")
    return audio, one.label, split


def make_vectors(folder: Path, graph: Path) -> None:
    """What CAM++ tells of every clean recording at every speed, also under the names of its disturbed versions."""
    path = folder / "campplus.npz"
    if path.exists():
        return
    recipe = load_recipe(RECIPE, [f"data.root={folder / 'clean.csv'}"])
    teacher = OnnxTeacher(graph.read_bytes(), "kaldi-fbank", str(graph))
    names, speeds, vectors = [], [], []
    for one in prepare(recipe).split.train:
        for speed in recipe.augment.speeds:
            vector = teacher(heard_at_speed(one, speed, 0.0)[None])[0]
            stem = one.name.removesuffix(".wav")
            for name in (one.name, *(f"{stem}.{version}.wav" for version in range(1, VERSIONS + 1))):
                names.append(name)
                speeds.append(speed)
                vectors.append(vector)
    np.savez(path, utterance=np.array(names), speed=np.array(speeds), embedding=np.stack(vectors))


def trained(folder: Path, name: str, changes: Sequence[str]) -> tuple[Path, dict[str, float]]:
    """An arm's student.pt, and what its training took."""
    place = folder / name
    told = place / "training.json"
    if not told.exists():
        recipe = load_recipe(RECIPE, changes)
        prepared = prepare(recipe)
        began = time.monotonic()
        train_student(recipe, prepared, place)
        crops = len(prepared.split.train) * len(recipe.augment.speeds) * recipe.student.epochs
        told.write_text(json.dumps({"crops": crops, "seconds": round(time.monotonic() - began)}))
    return place / "student.pt", json.loads(told.read_text())


def measured(folder: Path, models: dict[str, Callable[[], Embed]]) -> str:
    """A table of equal error rates, a column a model; what was measured before is read."""
    columns = []
    for name, load in models.items():
        told = folder / f"{name}.json"
        if not told.exists():
            told.write_text(json.dumps(list(rows({name: load()}, {one: TO_TEST_BY[one] for one in LISTS}))))
        columns.append(json.loads(told.read_text()))
    return table([row for line in zip(*columns, strict=True) for row in line], list(models))


def page(took: dict[str, dict[str, float]], errors: str) -> str:
    """What was trained and measured, in Markdown."""
    here = environment()
    arms = [f"| {name} | {told['crops']} | {told['seconds']} |" for name, told in took.items()]
    words = [
        "# Speaker students: labels, CAM++, speeds, rooms and wires",
        f"python {' '.join(sys.argv)}; {here['cpu']}, onnxruntime {here['onnxruntime']}, {date.today()}",
        "Arms of train/speaker_ablation.toml, one seed, float students; equal error rates, %, with 95 % intervals over enrolled "
        f"recordings. The trainings are short: the shipped student heard {SHIPPED_CROPS} crops.",
        "\n".join(["| arm | crops | seconds, on a core that others used too |", "|---|---|---|", *arms]),
        errors,
    ]
    return "\n\n".join(words) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--campplus", type=Path, default=Path("runs") / "campplus.onnx")
    parser.add_argument("--arms", help="with commas between; all without")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "speaker_ablation.md")
    asked = parser.parse_args()
    make_tables(WORK)
    make_vectors(WORK, asked.campplus)
    plan = load_plan(RECIPE)
    arms = asked.arms.split(",") if asked.arms else list(plan.arms)
    made = {name: trained(WORK, name, plan.arms[name].set) for name in arms}
    models: dict[str, Callable[[], Embed]] = {name: partial(by_bundle, path) for name, (path, _) in made.items()}
    models["shipped"] = partial(by_bundle, SHIPPED)
    text = page({name: told for name, (_, told) in made.items()}, measured(WORK, models))
    asked.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
