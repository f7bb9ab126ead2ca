"""What makes a speaker student know voices? Labels alone, CAM++ alone, both; without voices made by speed; without rooms and wires.

    python benchmarks/speaker_ablation.py [--campplus runs/campplus.onnx] [--arms both,labels] [--held-out]

Trains every arm of train/speaker_ablation.toml, one after the other, on as many crops, and writes results/speaker_ablation.md: equal
error rates of the float students by the lists of speaker_conditions.py, with the shipped bundle and CAM++ beside them. Killed at
any time, the same command goes on. The lists are those to choose by, with --held-out also those to test by.

The two tables are of LibriSpeech's training readers: 180 train; of the 20 whom train/speaker_campplus.toml chooses by, the clean
recordings set the threshold. `disturbed.csv` has two more versions of every recording, in the surroundings of that recipe.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from speaker_conditions import VALIDATION, Embed, by_bundle, campplus, rows, table

from edge_lupi.bench.hop import environment
from edge_lupi.data.speech import read_speech
from edge_lupi.data.utterance import Utterance
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.train.arms import load_plan
from edge_lupi.train.corpus import prepare
from edge_lupi.train.draw import Draw
from edge_lupi.train.examples import heard_at_speed
from edge_lupi.train.onnx_teacher import OnnxTeacher
from edge_lupi.train.recipe import AugmentRecipe, Recipe, load_recipe
from edge_lupi.train.student import train_student
from edge_lupi.train.surroundings import Surroundings

HERE = Path(__file__).parent
RECIPE = HERE.parent / "train" / "speaker_ablation.toml"
WORK = Path("runs") / "speaker_ablation"
SHIPPED = HERE.parent / "edge_lupi" / "bundles" / "speaker.lupi"
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


def measured(models: dict[str, Embed], *, validation: bool) -> str:
    """A table of equal error rates, a column a model."""
    found = []
    for row in rows(models, False, validation):
        found.append(row)
        print(json.dumps(row), flush=True)
    return table(found, list(models))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--campplus", type=Path, default=Path("runs") / "campplus.onnx")
    parser.add_argument("--arms", help="with commas between; all without")
    parser.add_argument("--held-out", action="store_true", help="also the lists to test by")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "speaker_ablation.md")
    asked = parser.parse_args()
    make_tables(WORK)
    make_vectors(WORK, asked.campplus)
    plan = load_plan(RECIPE)
    arms = asked.arms.split(",") if asked.arms else list(plan.arms)
    took = {name: trained(WORK, name, plan.arms[name].set) for name in arms}
    models = {name: by_bundle(path) for name, (path, _) in took.items()}
    models |= {"shipped": by_bundle(SHIPPED), "CAM++": campplus(asked.campplus)}
    here = environment()
    words = [
        "# Speaker students: labels, CAM++, speeds, rooms and wires",
        f"python {' '.join(sys.argv)}; {here['cpu']}, onnxruntime {here['onnxruntime']}, {date.today()}",
        "Arms of train/speaker_ablation.toml, one seed, float; equal error rates, %, with 95 % intervals over enrolled recordings. "
        "The trainings are short: the shipped student heard some four times as many crops.",
        "\n".join(
            [
                "| arm | crops | seconds of one core |",
                "|---|---|---|",
                *(f"| {name} | {told['crops']} | {told['seconds']} |" for name, (_, told) in took.items()),
            ]
        ),
        "## Voices to choose by",
        measured(models, validation=True),
    ]
    if asked.held_out:
        words += ["## Voices to test by", measured(models, validation=False)]
    asked.out.write_text("\n\n".join(words) + "\n")
    print(asked.out)


if __name__ == "__main__":
    main()
