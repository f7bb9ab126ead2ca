"""Cost at equal accuracy: equal error rates on hard lists against what half a second of sound costs, on one thread.

PYTHONPATH=SITE python benchmarks/equal_accuracy.py BUNDLE ... [--campplus runs/campplus.onnx] [--resemblyzer] [--out results/equal_accuracy.md]

Lists: every pair of 3 s pieces of the 48 held-out LibriSpeech voices; RAVDESS actors 17 to 24, neutral or calm against other
moods; other sentences: neutral clips of EmoDB's ten actors, no pair of the same sentence. Everybody hears a whole clip or piece.
Cost is what keeps such an answer up to date live, every half second: bundles compute what is new and carry a state, CAM++
hears its last 3 s anew, Resemblyzer its last 1.6 s. The process's own time, taken in turn, medians. SITE: see peers.py.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import sys
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import peer_models
from peer_models import FRONT_END, Hop
from peers import timed
from sounds import CONDITIONS, Samples, clips, data_root
from speaker_conditions import RAVDESS, Embed, Lists, Trials, by_bundle, campplus, listed, measured, pieces

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.device.processor import environment
from edge_lupi.frames import CONTEXT_SAMPLES, HOP_SAMPLES, MELS, SAMPLE_RATE_HZ
from edge_lupi.metrics.bootstrap import Interval
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.sound.audio import read_audio

CAMPPLUS_SECONDS = 3.0


def other_sentences() -> Trials:
    """Neutral clips of EmoDB, every pair of different sentences."""
    folder = data_root() / "emodb"
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        kept = [row for row in csv.DictReader(file) if row["label"] == "neutral"]
    sounds = {row["audio"]: read_audio(folder / row["audio"]) for row in kept}
    pairs = [(a, b) for a, b in itertools.combinations(kept, 2) if a["sentence"] != b["sentence"]]
    return Trials(sounds, [(a["audio"], b["audio"], a["speaker"] == b["speaker"]) for a, b in pairs])


LISTS: Lists = {
    "3 s pieces": pieces,
    "other moods": lambda: listed("ravdess_av", RAVDESS.format("emotion_mismatch")),
    "other sentences": other_sentences,
}


def hop_of_bundle(path: Path) -> tuple[Hop, int]:
    """Front end on what is new, encoder on a segment, aggregator."""
    student = CompiledStudent(Bundle.load(path), "speaker")
    state, cut = student.initial_state(), student.segmentation
    frames = np.zeros((MELS, cut.frames), np.float32)

    def hop(samples: Samples) -> np.ndarray:
        nonlocal state, frames
        frames = np.concatenate([frames, FRONT_END(samples)], 1)[:, -cut.frames :]
        step = student.step(student.encode(frames[None, :, None]), state)
        state = step.state
        return step.embedding[0]

    return hop, CONTEXT_SAMPLES + SAMPLE_RATE_HZ // 2


def whole_by_resemblyzer() -> Embed:
    """Its own way with a whole utterance: the mean of its partials."""
    from resemblyzer import VoiceEncoder

    return partial(VoiceEncoder("cpu", verbose=False).embed_utterance)


def plot(found: dict[str, dict[str, Interval]], ms: dict[str, float], out: Path) -> None:
    """A panel for each list."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(found), figsize=(4 * len(found), 3.4), layout="constrained", squeeze=False)
    for axes, (name, cells) in zip(panels[0], found.items(), strict=True):
        for model, eer in cells.items():
            low, high = 100 * (eer.value - eer.low), 100 * (eer.high - eer.value)
            axes.errorbar(ms[model], 100 * eer.value, [[low], [high]], fmt="o", capsize=3)
            axes.annotate(model, (ms[model], 100 * eer.value), (4, 4), textcoords="offset points", fontsize=8)
        axes.set(xscale="log", ylim=(0, None), title=name, xlabel="ms for half a second of sound", ylabel="EER, %")
        axes.grid(alpha=0.3, which="both")
    figure.savefig(out, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--campplus", type=Path)
    parser.add_argument("--resemblyzer", action="store_true")
    parser.add_argument("--lists", nargs="+", choices=list(LISTS), default=list(LISTS))
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    models: dict[str, Callable[[], Embed]] = {path.name: partial(by_bundle, path) for path in asked.bundles}
    hops = {path.name: hop_of_bundle(path) for path in asked.bundles}
    window = CONTEXT_SAMPLES + round(CAMPPLUS_SECONDS * SAMPLE_RATE_HZ)
    if asked.campplus:
        models["CAM++"] = partial(campplus, asked.campplus)
        hops["CAM++"] = peer_models.on_window(asked.campplus.read_bytes)(), window
    if asked.resemblyzer:
        models["Resemblyzer"] = whole_by_resemblyzer
        hops["Resemblyzer"] = peer_models.resemblyzer(), CONTEXT_SAMPLES + 160 * HOP_SAMPLES
    taken = timed(hops, np.concatenate(clips(4)), asked.rounds)
    ms = {name: float(np.median(each[:, 1])) for name, each in taken.items()}
    embeds = {name: make() for name, make in models.items()}
    found: dict[str, dict[str, Interval]] = {}
    lines = ["| list | trials | " + " | ".join(models) + " |", "|---|---|" + "---|" * len(models)]
    for name in asked.lists:
        trials = LISTS[name]()
        found[name] = {model: measured(embed, trials, CONDITIONS["as recorded"]) for model, embed in embeds.items()}
        cells = [f"{100 * e.value:.1f} ({100 * e.low:.1f} to {100 * e.high:.1f})" for e in found[name].values()]
        lines.append(f"| EER, {name} | {len(trials.pairs)} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    lines.append("| ms for half a second of sound | | " + " | ".join(f"{ms[name]:.2f}" for name in models) + " |")
    print("\n".join(lines))
    if asked.out:
        plot(found, ms, asked.out.with_suffix(".svg"))
        here = environment()
        made = f"python {' '.join(sys.argv)}; {here['cpu']}, onnxruntime {here['onnxruntime']}, {date.today()}"
        picture = f"![EER against cost]({asked.out.stem}.svg)"
        asked.out.write_text("\n".join(["# Cost at equal accuracy", "", made, "", picture, "", *lines, ""]))
    plain = {name: {model: vars(eer) for model, eer in cells.items()} for name, cells in found.items()}
    print(json.dumps({"ms": ms, "eer": plain}))


if __name__ == "__main__":
    main()
