"""Which emotion student to ship? Acted and read speech by how sure it has to be, of people to choose by.

python benchmarks/emotion_choice.py BUNDLE_OR_PT [...] [--names shipped,...] [--out benchmarks/results/emotion_choice.md]

Acted: the validation actors of train/emotion_ravdess.toml, clip by clip: UAR, the share that is called "unsure", and how many of the
others are told right. Read: 24 LibriSpeech readers whom train/emotion_readers.toml leaves out and benchmarks/readers.txt does not
name, event by event as `listen` tells them. Each model at its own temperature and at ones above it, with several values of `sure`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
from emotion_corpora import READERS, TRIM_DB, Array, Model, data_root

from edge_lupi.data.readers.corpora import read_corpus
from edge_lupi.data.speech import read_speech
from edge_lupi.data.utterance import Utterance
from edge_lupi.device.processor import environment
from edge_lupi.metrics.classification import uar
from edge_lupi.metrics.confidence import calibration_error, probabilities_of
from edge_lupi.runtime.segments import Segment
from edge_lupi.runtime.trackers.label import UNSURE, LabelTracker, Smoothing
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.recipe.recipe import load_recipe

TRAIN = Path(__file__).parents[1] / "train"
HEATS = (1.0, 1.5, 2.0)  # times a model's own temperature
SURE = (0.5, 0.6, 0.7)


@dataclass(frozen=True)
class Point:
    """Shares, in percent, at one temperature and one `sure`."""

    temperature: float
    sure: float
    uar: float
    ece: float
    unsure: float
    right: float
    calm_readers: float  # neutral or unsure
    neutral_readers: float


def people() -> tuple[list[Utterance], list[Utterance]]:
    """Clips of validation actors, and the readings."""
    left_out = set(load_recipe(TRAIN / "emotion_readers.toml").data.also[0].leave_out)
    named = left_out - set(READERS.read_text().split())
    acted = prepare(load_recipe(TRAIN / "emotion_ravdess.toml")).split.validation
    read = [u for u in read_corpus(data_root() / "librispeech_excerpts").utterances if u.speaker in named]
    return list(acted), read


def segments(model: Model, utterance: Utterance) -> list[tuple[Segment, Array]]:
    """As the stream hears them, with their embeddings."""
    cut, found = model.student.segmentation, []
    for place, frames in enumerate(model.student.segments(read_speech(utterance, TRIM_DB)[0])):
        begin = place * cut.hop_seconds
        segment = Segment(frames, begin, begin + cut.seconds, 1.0, -20.0)
        found.append((segment, model.student.encode(frames[None])))
    return found


def labels_told(model: Model, heard: Sequence[list[tuple[Segment, Array]]], heat: float, sure: float) -> list[str]:
    """Of every event of these readings."""
    task = replace(model.student.task, temperature=heat)
    told = []
    for reading in heard:
        tracker = LabelTracker(model.student.branches["emotion"], task, Smoothing(sure=sure))
        told += [finding.label for one in reading for finding in tracker.speech(*one)]
    return told


def points(model: Model, acted: Sequence[Utterance], read: Sequence[Utterance]) -> Iterator[Point]:
    told = model.told([model._hear(clip) for clip in acted], "alone")
    heard = [segments(model, reading) for reading in read]
    best = told.scores.argmax(1)
    for heat in (model.student.task.temperature * times for times in HEATS):
        probabilities = probabilities_of(told.scores, heat)
        for sure in SURE:
            said = probabilities.max(1) >= sure
            labels = labels_told(model, heard, heat, sure)
            yield Point(
                round(heat, 2),
                sure,
                100 * uar(told.truth, best),
                100 * calibration_error(probabilities, told.truth),
                100 * float((~said).mean()),
                100 * float((best == told.truth)[said].mean()) if said.any() else float("nan"),
                100 * float(np.isin(labels, ("neutral", UNSURE)).mean()),
                100 * float(np.equal(labels, "neutral").mean()),
            )


def line(name: str, point: Point) -> str:
    wrong = 100 - point.calm_readers
    shares = (point.uar, point.ece, point.unsure, point.right, point.neutral_readers, point.calm_readers, wrong)
    return f"| {name} | {point.temperature} | {point.sure} | " + " | ".join(f"{share:.1f}" for share in shares) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL")
    parser.add_argument("--names", help="of the models, with commas between")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    names = asked.names.split(",") if asked.names else [str(path) for path in asked.models]
    acted, read = people()
    lines = [
        "| model | temperature | sure | acted: UAR | ECE | unsure | right of the others | read: neutral | neutral or unsure | wrong |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, path in zip(names, asked.models, strict=True):
        with tempfile.TemporaryDirectory() as folder:
            for point in points(Model(path, Path(folder)), acted, read):
                lines.append(line(name, point))
                print(json.dumps({"model": name, **vars(point)}), flush=True)
    print("\n".join(lines))
    if asked.out:
        head = f"# Emotion students, acted and read speech, of people to choose by, %\n\npython {' '.join(sys.argv)}; {environment()['cpu']}, {date.today()}\n\n"
        made = f"{len(acted)} clips of {len({u.speaker for u in acted})} actors, {len(read)} readers.\n\n"
        asked.out.write_text(head + made + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
