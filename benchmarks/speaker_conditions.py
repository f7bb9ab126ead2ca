"""Speaker verification by list and condition: equal error rates of bundles, and of CAM++, on the same sound.

python benchmarks/speaker_conditions.py old.lupi new.lupi [--campplus campplus.onnx] [--out results/speaker_conditions.md]

Lists: halves of one recording of the 48 held-out LibriSpeech voices; every pair of 3 s pieces of them; RAVDESS actors 17
to 24, neutral, and neutral or calm against other moods. Conditions, on both sides of a trial: as recorded; 8 kHz A-law
(what a telephone leaves); 10 dB of babble of five other voices; a room of RT60 0.5 s. Everything drawn is drawn from the
file's name. Intervals are 95 % bootstrap over enrolled recordings. CAM++ is the teacher's ONNX graph on Kaldi features.
With --validation the voices are those to choose by: the 20 that train/speaker_campplus.toml sets its threshold by, and actors 1
to 16, three clips each that are neutral or calm and six in other moods.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sounds import CONDITIONS, Condition, data_root

from edge_lupi.data.readers.librispeech import read_librispeech
from edge_lupi.data.readers.ravdess import read_ravdess
from edge_lupi.data.trials import read_trials
from edge_lupi.data.utterance import Utterance
from edge_lupi.device.processor import environment
from edge_lupi.evaluate.open import open_model
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.metrics.bootstrap import Interval, bootstrap
from edge_lupi.metrics.verification import eer
from edge_lupi.sound.audio import read_audio

Samples = NDArray[np.float32]
Embed = Callable[[Samples], NDArray[np.float32]]
PIECE = 3 * SAMPLE_RATE_HZ
VALIDATION = Path(__file__).parents[1] / "train" / "speaker_campplus.toml"


@dataclass(frozen=True)
class Trials:
    """Sounds by name, and pairs of them: same voice or not."""

    sounds: dict[str, Samples]
    pairs: list[tuple[str, str, bool]]


def pieces(utterances: Iterable[Utterance] | None = None) -> Trials:
    """Every pair of 3 s pieces, of the 48 voices or of others; what is left at a recording's end is left out."""
    sounds, voice = {}, {}
    spoken = read_librispeech(data_root() / "librispeech_excerpts").utterances
    for utterance in utterances or [one for one in spoken if one.split == "held_out"]:
        samples = read_audio(utterance.audio)
        for start in range(0, len(samples) - PIECE + 1, PIECE):
            name = f"{utterance.name} {start}"
            sounds[name], voice[name] = samples[start : start + PIECE], utterance.speaker
    return Trials(sounds, [(a, b, voice[a] == voice[b]) for a, b in itertools.combinations(sorted(sounds), 2)])


def listed(folder: str, file: str) -> Trials:
    """A corpus's own list."""
    trials = read_trials(data_root() / folder / file, data_root() / folder)
    names = {str(path): path for trial in trials for path in (trial.enrol, trial.test)}
    sounds = {name: read_audio(path) for name, path in names.items()}
    return Trials(sounds, [(str(trial.enrol), str(trial.test), trial.target) for trial in trials])


def validation_pieces() -> Trials:
    """Those of the validation voices of the recipe under CAM++."""
    from edge_lupi.train.examples.corpus import prepare
    from edge_lupi.train.recipe import load_recipe

    return pieces(prepare(load_recipe(VALIDATION)).split.validation)


def actors(*, same_mood: bool) -> Trials:
    """Neutral or calm clips of RAVDESS's actors 1 to 16, against each other or against other moods."""
    kept: dict[tuple[str | None, bool], list[Utterance]] = {}
    clips = read_ravdess(data_root() / "ravdess_av").utterances
    for number in np.random.default_rng(0).permutation(len(clips)):
        clip = clips[number]
        plain = clip.label in ("neutral", "calm")
        own = kept.setdefault((clip.speaker, plain), [])
        if str(clip.speaker) <= "actor_16" and len(own) < (3 if plain else 6):
            own.append(clip)
    plain, others = ([c for (_, p), own in kept.items() if p == wanted for c in own] for wanted in (True, False))
    pairs = itertools.combinations(plain, 2) if same_mood else itertools.product(plain, others)
    sounds = {clip.name: read_audio(clip.audio) for clip in (plain if same_mood else [*plain, *others])}
    return Trials(sounds, [(a.name, b.name, a.speaker == b.speaker) for a, b in pairs])


def by_bundle(path: Path) -> Embed:
    """A student or bundle of this project."""
    model = open_model(path)
    return lambda samples: model.answer(samples, None).embedding


def campplus(graph: Path) -> Embed:
    """CAM++ on Kaldi filter banks: 25 and 10 ms, no dither, the mean over time taken off."""
    import onnxruntime
    import torch
    from torchaudio.compliance.kaldi import fbank

    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def embed(samples: Samples) -> NDArray[np.float32]:
        features = fbank(torch.from_numpy(samples)[None], num_mel_bins=80, dither=0.0)
        found: NDArray[np.float32] = session.run(None, {name: (features - features.mean(0))[None].numpy()})[0][0]
        return found

    return embed


def measured(embed: Embed, trials: Trials, condition: Condition) -> Interval:
    """Equal error rate, its interval over enrolled recordings."""
    vectors = {}
    for name, samples in trials.sounds.items():
        draw = np.random.default_rng(zlib.crc32(Path(name).name.encode()))
        vector = embed(condition(samples, draw).astype(np.float32))
        vectors[name] = vector / np.linalg.norm(vector)
    scores = np.array([vectors[a] @ vectors[b] for a, b, _ in trials.pairs])
    targets = np.array([same for _, _, same in trials.pairs])
    names = sorted(trials.sounds)
    groups = np.array([names.index(a) for a, _, _ in trials.pairs])
    found = bootstrap(lambda chosen: eer(scores[chosen], targets[chosen]).value, groups=groups)
    if found.value == 0:  # a list without an error shows none by resampling: the rule of three
        return Interval(0.0, 0.0, min(1.0, 3 / int(targets.sum())))
    return found


RAVDESS = "sv_trials_actors17-24_{}.txt"
Lists = dict[str, Callable[[], Trials]]
TO_CHOOSE_BY: Lists = {
    "3 s pieces, validation": validation_pieces,
    "RAVDESS 1 to 16, neutral": lambda: actors(same_mood=True),
    "RAVDESS 1 to 16, other moods": lambda: actors(same_mood=False),
}
TO_TEST_BY: Lists = {
    "3 s pieces": pieces,
    "LibriSpeech halves": lambda: listed("librispeech_excerpts", "trials_held_out.txt"),
    "RAVDESS neutral": lambda: listed("ravdess_av", RAVDESS.format("neutral")),
    "RAVDESS other moods": lambda: listed("ravdess_av", RAVDESS.format("emotion_mismatch")),
}


def rows(models: dict[str, Embed], lists: Lists) -> Iterator[dict[str, object]]:
    for list_name, load in lists.items():
        trials = load()
        for condition, change in CONDITIONS.items():
            for model, embed in models.items():
                found = measured(embed, trials, change)
                yield {
                    "list": list_name,
                    "condition": condition,
                    "model": model,
                    "trials": len(trials.pairs),
                    "targets": sum(same for _, _, same in trials.pairs),
                    **{key: round(getattr(found, key), 4) for key in ("value", "low", "high")},
                }


def table(found: list[dict[str, object]], models: list[str]) -> str:
    lines = [
        "| list | condition | trials | " + " | ".join(models) + " |",
        "|---|---|---|" + "---|" * len(models),
    ]
    for (name, condition), group in itertools.groupby(found, lambda row: (row["list"], row["condition"])):
        kept = list(group)
        cells = " | ".join(f"{100 * r['value']:.1f} ({100 * r['low']:.1f} to {100 * r['high']:.1f})" for r in kept)
        lines.append(f"| {name} | {condition} | {kept[0]['trials']} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--campplus", type=Path)
    parser.add_argument("--quick", action="store_true", help="the 3 s pieces alone")
    parser.add_argument("--validation", action="store_true", help="voices to choose by, not those to test by")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    models: dict[str, Embed] = {str(path): by_bundle(path) for path in asked.models}
    if asked.campplus:
        models["CAM++"] = campplus(asked.campplus)
    found = []
    lists = TO_CHOOSE_BY if asked.validation else TO_TEST_BY
    for row in rows(models, dict(list(lists.items())[: 1 if asked.quick else None])):
        found.append(row)
        print(json.dumps(row), flush=True)
    text = table(found, list(models))
    print(text)
    if asked.out:
        here = environment()
        made = f"python {' '.join(sys.argv)}; {here['cpu']}, onnxruntime {here['onnxruntime']}, {date.today()}"
        asked.out.write_text(f"# Equal error rates, %, by list and condition\n\n{made}\n\n{text}\n")


if __name__ == "__main__":
    main()
