"""Clips that CAM++ has answered for: a recipe's speech at speeds and in moods of its own -> clips of 3 s and a table of vectors.

    pip install pyworld
    python train/speaker_clips.py runs/campplus.onnx train/speaker_campplus.toml --out runs/speaker_clips

Asking CAM++ costs a CPU some 50 ms a clip, twice what training on it does; asked once, many epochs go by what it said. All
clips are clean: training puts them into other rooms and wires in every epoch. Half of them are of labelled speech, half of
`data.unlabelled`. A share of them (`--moods`) is spoken anew by the vocoder WORLD (Morise et al. 2016) at another height, with
more or less of a melody, faster or slower, softer or harder: readers read calmly, and those who listen to CAM++ shall hear from it
which of all that does not tell who speaks. Written: voices.csv (the recipe's labelled readers as they are, those that it chooses by as
validation), clips.csv (to be data.unlabelled: only CAM++ tells of it) and campplus.npz for both. Killed at any time, the same command
goes on; several at once share the work.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from edge_lupi.data.readers.corpora import read_corpus
from edge_lupi.data.speech import read_speech
from edge_lupi.data.utterance import Utterance
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.train.examples.clips import heard_at_speed
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.examples.prepared import Prepared
from edge_lupi.train.recipe.recipe import Recipe, load_recipe
from edge_lupi.train.sounds.moods import in_another_mood
from edge_lupi.train.teachers.onnx_teacher import OnnxTeacher

Samples = NDArray[np.float32]
CLIP = 3 * SAMPLE_RATE_HZ
AT_ONCE = 64


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


def batch(recipe: Recipe, prepared: Prepared, teacher: OnnxTeacher, number: int, moods: float, folder: Path) -> None:
    """AT_ONCE clips as FLAC in `folder`, and what CAM++ says of them, in NUMBER.npz: written last."""
    told, begun = folder / f"{number}.npz", folder / f"{number}.begun.{os.getpid()}"
    if told.exists() or any(alive(one) for one in folder.glob(f"{number}.begun.*")):
        return
    begun.touch()
    pools = [list(pool) for pool in (prepared.split.train, prepared.split.unlabelled) if pool]
    draw = np.random.default_rng((recipe.seed, number, 1))
    moody = draw.random(AT_ONCE) < moods
    spoken = np.stack(
        [
            in_another_mood(clip, draw) if otherwise else clip
            for clip, otherwise in zip(clips(recipe, pools, number), moody, strict=True)
        ]
    ).astype(np.float32)
    for one, samples in enumerate(spoken):
        soundfile.write(folder / f"{number}.{one}.flac", samples, SAMPLE_RATE_HZ, subtype="PCM_16")
    partly = folder / f"{number}.partly.npz"
    np.savez(partly, embedding=np.concatenate([teacher(part) for part in np.split(spoken, 8)]))
    partly.rename(told)
    begun.unlink()


def alive(begun: Path) -> bool:
    """Whether the process that began a batch is still there."""
    return Path("/proc", begun.suffix[1:]).exists()


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
    parser.add_argument("--clips", type=int, default=19_200)
    parser.add_argument("--moods", type=float, default=0.33, help="the share of the clips that are spoken otherwise")
    asked = parser.parse_args()
    if asked.moods and not find_spec("pyworld"):
        parser.error("expected the vocoder of --moods above 0, got none: pip install pyworld")
    recipe = load_recipe(asked.recipe)
    prepared = prepare(recipe)
    teacher = OnnxTeacher(asked.graph.read_bytes(), "kaldi-fbank", str(asked.graph))
    asked.out.mkdir(parents=True, exist_ok=True)
    batches = range(-(-asked.clips // AT_ONCE))
    for number in batches:
        batch(recipe, prepared, teacher, number, asked.moods, asked.out)
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
