"""Speaker verification without learning: the cosine of mean log-mel statistics, on the same trials as a bundle.

python benchmarks/speaker_baseline.py BUNDLE --data CORPUS --trials LIST
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from edge_lupi.data.trials import read_trials
from edge_lupi.data.utterance import Utterance
from edge_lupi.evaluate.answers import Answer
from edge_lupi.evaluate.measure import evaluate_trials
from edge_lupi.evaluate.open import open_model
from edge_lupi.frames import CONTEXT_SAMPLES, HOP_SAMPLES
from edge_lupi.runtime.front_end import FftFrontEnd

FRONT_END = FftFrontEnd()


def log_mel_statistics(samples: np.ndarray, utterance: Utterance | None) -> Answer:
    """Mean and deviation of every mel band over the utterance, [160]; centred over bands, so that level does not count."""
    length = len(samples) // HOP_SAMPLES * HOP_SAMPLES
    frames = FRONT_END(np.concatenate([np.zeros(CONTEXT_SAMPLES, np.float32), samples[:length]]))
    mean, deviation = frames.mean(1), frames.std(1)
    return Answer(np.concatenate([mean - mean.mean(), deviation - deviation.mean()]), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--trials", type=Path, required=True)
    arguments = parser.parse_args()
    trials = read_trials(arguments.trials, arguments.data)
    found = {
        "bundle": evaluate_trials(open_model(arguments.bundle).answer, trials, "speaker"),
        "log-mel statistics": evaluate_trials(log_mel_statistics, trials, "speaker"),
    }
    for name, report in found.items():
        print(f"{name:<20}{report.text()}")
    print(json.dumps({name: report.plain() for name, report in found.items()}))


if __name__ == "__main__":
    main()
