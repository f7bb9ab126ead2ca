"""Clips that CAM++ has answered for: a recipe's speech at speeds of its own -> clips of 3 s, some disturbed, and a table of vectors.

    python train/speaker_clips.py runs/campplus.onnx train/speaker_campplus.toml --out runs/speaker_clips

Asking CAM++ costs a CPU some 40 ms a clip, several times what training on it does; asked once, many epochs go by what it said.
CAM++ hears every clip clean; in the recipe's rooms and wires the student hears all but `--clean` of them. Half of the
clips are of labelled speech, half of `data.unlabelled`. Written: voices.csv (the recipe's labelled readers as they are, those
that it chooses by as validation), clips.csv (to be data.unlabelled: only CAM++ tells of it) and campplus.npz for both. Killed at
any time, the same command goes on.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from edge_lupi.data.readers.corpora import read_corpus
from edge_lupi.data.speech import read_speech
from edge_lupi.data.utterance import Utterance
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.train.examples.clips import heard_at_speed
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.examples.draw import Draw
from edge_lupi.train.examples.prepared import Prepared
from edge_lupi.train.recipe.recipe import Recipe, load_recipe
from edge_lupi.train.sounds.surroundings import Surroundings
from edge_lupi.train.teachers.onnx_teacher import OnnxTeacher

Samples = NDArray[np.float32]
CLIP = 3 * SAMPLE_RATE_HZ
AT_ONCE = 64  # clips that are disturbed together: babble is made of the others


def clips(recipe: Recipe, pools: list[list[Utterance]], number: int) -> Iterator[Samples]:
    """The `number`-th batch of clips, from each pool in turn, each at a speed and a place of its own."""
    draw = np.random.default_rng((recipe.seed, number))
    slowest, fastest = recipe.augment.speed_range
    for one in range(AT_ONCE):
        pool = pools[one % len(pools)]
        speed = float(draw.uniform(slowest, fastest)) if draw.random() < recipe.augment.free_speeds else 1.0
        samples = heard_at_speed(pool[int(draw.integers(len(pool)))], speed, recipe.segments.trim_db)
        samples = np.resize(samples, max(CLIP, len(samples)))
        start = int(draw.integers(len(samples) - CLIP + 1))
        yield samples[start : start + CLIP]


def batch(recipe: Recipe, prepared: Prepared, teacher: OnnxTeacher, number: int, clean: float, folder: Path) -> None:
    """AT_ONCE clips as FLAC in `folder`, and what CAM++ says of them, in NUMBER.npz: written last."""
    told = folder / f"{number}.npz"
    if told.exists():
        return
    pools = [list(pool) for pool in (prepared.split.train, prepared.split.unlabelled) if pool]
    spoken = np.stack(list(clips(recipe, pools, number))).astype(np.float32)
    vectors = np.concatenate([teacher(part) for part in np.split(spoken, 8)])
    around = Surroundings(recipe.augment, recipe.seed + number, torch.device("cpu"))
    heard = around(torch.from_numpy(spoken), Draw(recipe.seed + number)).clamp(-1, 1).numpy()
    as_it_is = np.random.default_rng((recipe.seed, number, 1)).random(AT_ONCE) < clean
    for one, samples in enumerate(np.where(as_it_is[:, None], spoken, heard)):
        soundfile.write(folder / f"{number}.{one}.flac", samples, SAMPLE_RATE_HZ, subtype="PCM_16")
    partly = folder / f"{number}.partly.npz"
    np.savez(partly, embedding=vectors)
    partly.rename(told)


def voices(recipe: Recipe, prepared: Prepared, teacher: OnnxTeacher, folder: Path) -> dict[str, Samples]:
    """The labelled recordings, whole and clean, in voices.csv; what CAM++ says of those that are trained on, by name."""
    rows, told = [], {}
    for split, part in (("train", prepared.split.train), ("validation", prepared.split.validation)):
        for one in part:
            samples, _ = read_speech(one, recipe.segments.trim_db)
            name = f"{Path(one.name).stem}.flac"
            soundfile.write(folder / name, samples, SAMPLE_RATE_HZ, subtype="PCM_16")
            rows.append((name, one.label, split))
            if split == "train":
                told[name] = teacher(samples[None])[0]
    with (folder / "voices.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("audio", "label", "split"), *rows])
    return told


def main() -> None:
    """Read, cut, ask, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", type=Path, help="campplus.onnx")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/speaker_clips"))
    parser.add_argument("--clips", type=int, default=9_600)
    parser.add_argument("--clean", type=float, default=0.5, help="the share of the clips that stay as they are")
    asked = parser.parse_args()
    recipe = load_recipe(asked.recipe)
    prepared = prepare(recipe)
    teacher = OnnxTeacher(asked.graph.read_bytes(), "kaldi-fbank", str(asked.graph))
    asked.out.mkdir(parents=True, exist_ok=True)
    batches = range(-(-asked.clips // AT_ONCE))
    for number in batches:
        batch(recipe, prepared, teacher, number, asked.clean, asked.out)
        print(f"\r{(number + 1) * AT_ONCE} of {len(batches) * AT_ONCE} clips", end="", flush=True)
    told = voices(recipe, prepared, teacher, asked.out)
    files = [f"{number}.{one}.flac" for number in batches for one in range(AT_ONCE)]
    with (asked.out / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("audio", "label"), *((name, "nobody") for name in files)])
    corpus = read_corpus(asked.out / "clips.csv").name  # which training puts before the names of unlabelled speech
    made = [np.load(asked.out / f"{number}.npz")["embedding"] for number in batches]
    names = [*(f"{corpus}/{name}" for name in files), *told]
    np.savez(asked.out / "campplus.npz", utterance=np.array(names), embedding=np.concatenate([*made, [*told.values()]]))
    print(f"\n{asked.out}: {len(files)} clips, {len(told)} recordings")


if __name__ == "__main__":
    main()
