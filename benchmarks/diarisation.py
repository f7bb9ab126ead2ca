"""Two real voices take turns without a pause, nobody is enrolled: how wrong is who-spoke-when, and how many are found?

python benchmarks/diarisation.py BUNDLE --data CORPUS [--voices held_out|validation] [--minutes 10] [--turn-seconds 4]

A conversation is put together from two voices that training has not heard, disjoint pairs in an order drawn by the seed.
A turn is a stretch from anywhere in the recordings of its voice; those here have about 14 s a voice, so words come again.
A turn counts as spoken from its first sample to its last: pauses inside it that the speech gate hears count as missed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.data.readers.corpora import read_corpus
from edge_lupi.data.splits import split
from edge_lupi.errors import InputError
from edge_lupi.frames import HOP_SAMPLES, SAMPLE_RATE_HZ
from edge_lupi.metrics.bootstrap import bootstrap
from edge_lupi.metrics.diarisation import diarisation_error
from edge_lupi.rttm import Stretch
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.runtime.outputs.turns import Turns
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.trackers.tracker import UNKNOWN
from edge_lupi.sound.audio import read_audio

LEAST_SECONDS = 6.0  # of a voice, so that turns of 4 s differ
Voices = dict[str, np.ndarray]


def voices_of(bundle: Bundle, data: Path, which: str) -> Voices:
    """All that is recorded of each voice, float32 [T]; of the recipe's test or validation speakers."""
    recipe = bundle.manifest["training"]["recipe"]
    parts = split(
        read_corpus(data, task="speaker"),
        recipe["data"]["test"],
        validation_speakers=recipe["data"]["validation_speakers"],
        seed=recipe["seed"],
    )
    utterances = parts.validation if which == "validation" else parts.test
    voices: dict[str, list[np.ndarray]] = {}
    for utterance in utterances:
        voices.setdefault(utterance.label, []).append(read_audio(utterance.audio))
    joined = {name: np.concatenate(pieces) for name, pieces in sorted(voices.items())}
    return {name: samples for name, samples in joined.items() if len(samples) >= LEAST_SECONDS * SAMPLE_RATE_HZ}


def conversation(
    voices: Voices, seconds: float, turn_seconds: float, draw: np.random.Generator
) -> tuple[np.ndarray, list[Stretch]]:
    """The voices in turn, and who speaks when. Ends of turns are faded over 10 ms: a click would tell of the change."""
    length = round(turn_seconds * SAMPLE_RATE_HZ)
    fade = np.linspace(0, 1, HOP_SAMPLES, dtype=np.float32)
    turns, spoken = [], []
    for number in range(round(seconds / turn_seconds)):
        name = list(voices)[number % len(voices)]
        start = int(draw.integers(len(voices[name]) - length + 1))
        turn = voices[name][start : start + length].copy()
        turn[:HOP_SAMPLES] *= fade
        turn[-HOP_SAMPLES:] *= fade[::-1]
        turns.append(turn)
        spoken.append(Stretch(number * turn_seconds, (number + 1) * turn_seconds, name))
    return np.concatenate(turns), spoken


def heard_by(listener: Listener, samples: np.ndarray) -> list[Stretch]:
    turns = Turns(listener.segmentation)
    ended = [turn for event in listener.listen(_blocks(samples)) for turn in turns.push(event)]
    return [Stretch(t.start_seconds, t.end_seconds, t.label) for t in [*ended, *turns.finish()]]


def _blocks(samples: np.ndarray) -> Iterator[Block]:
    for start in range(0, len(samples), SAMPLE_RATE_HZ // 10):
        yield Block(samples[start : start + SAMPLE_RATE_HZ // 10], 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--voices", choices=("held_out", "validation"), default="held_out")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--turn-seconds", type=float, default=4.0)
    parser.add_argument("--people", type=int, default=2, help="voices in a conversation")
    parser.add_argument("--conversations", type=int, help="only so many")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    bundle = Bundle.load(arguments.bundle)
    voices = voices_of(bundle, arguments.data, arguments.voices)
    order = np.random.default_rng(arguments.seed).permutation(list(voices)).tolist()
    groups = [order[i : i + arguments.people] for i in range(0, len(order) - arguments.people + 1, arguments.people)]
    if not groups:
        raise InputError(f"expected at least {arguments.people} {arguments.voices} voices, got {len(order)}")
    rows = []
    print("voices                DER   missed  false alarm  confused  speakers found")
    for number, group in enumerate(groups[: arguments.conversations]):
        draw = np.random.default_rng((arguments.seed, number))
        chosen = {name: voices[name] for name in group}
        samples, spoken = conversation(chosen, 60 * arguments.minutes, arguments.turn_seconds, draw)
        found = heard_by(Listener(bundle, gallery=None), samples)
        error = diarisation_error(spoken, found)
        parts = np.array([error.missed_seconds, error.alarmed_seconds, error.confused_seconds]) / error.spoken_seconds
        labels = {stretch.label for stretch in found} - {UNKNOWN}
        rows.append((error.rate, *parts, len(labels)))
        print(f"{' '.join(group):<18}{error.rate:8.1%}{parts[0]:8.1%}{parts[1]:12.1%}{parts[2]:10.1%}{len(labels):10d}")
    table = np.array(rows)
    names = ("der", "missed", "false_alarm", "confused", "speakers_found")
    figures = {
        name: bootstrap(lambda i, column=column: float(table[i, column].mean()), n=len(table))
        for column, name in enumerate(names)
    }
    for name, figure in figures.items():
        print(f"{name:<16}{figure.value:7.3f}  (95 %: {figure.low:.3f} to {figure.high:.3f})")
    right = float((table[:, 4] == arguments.people).mean())
    print(f"as many speakers as spoke in {right:.0%} of {len(table)} conversations")
    print(
        json.dumps(
            {
                "bundle": arguments.bundle.name,
                "voices": arguments.voices,
                "people": arguments.people,
                "minutes": arguments.minutes,
                "turn_seconds": arguments.turn_seconds,
                "conversations": len(table),
                "collar_seconds": 0.25,
                **{name: asdict(figure) for name, figure in figures.items()},
                "median_der": float(np.median(table[:, 0])),
                "right_count_share": right,
            }
        )
    )


if __name__ == "__main__":
    main()
