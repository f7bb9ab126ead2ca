"""Does a probability mean what it says? Calibration error before and after the temperature, and what "unsure" leaves.

python benchmarks/emotion_confidence.py STUDENT_OR_BUNDLE --data CORPUS --split fold0 [--sure 0.5]

Utterances of speakers whom training has not heard; 95 % bootstrap intervals over these speakers.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from edge_lupi.data.readers.corpora import read_corpus
from edge_lupi.errors import InputError
from edge_lupi.evaluate.answers import answers
from edge_lupi.evaluate.open import open_model
from edge_lupi.evaluate.unheard import unheard
from edge_lupi.metrics.bootstrap import Interval, bootstrap
from edge_lupi.metrics.confidence import calibration_error, negative_log_likelihood, probabilities_of
from edge_lupi.runtime.trackers.label import Smoothing

LEVELS = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


def sure_share(probabilities: np.ndarray, level: float) -> float:
    return float((probabilities.max(1) >= level).mean())


def sure_accuracy(probabilities: np.ndarray, labels: np.ndarray, level: float) -> float:
    """Of those told; NaN where none was."""
    told = probabilities.max(1) >= level
    return float((probabilities.argmax(1) == labels)[told].mean()) if told.any() else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", help="a fold or split of the corpus; without it, all that training has not heard")
    parser.add_argument("--sure", type=float, default=Smoothing().sure)
    arguments = parser.parse_args()
    model = open_model(arguments.model)
    kept, _ = unheard(read_corpus(arguments.data, task=model.task.name), model.origin)
    utterances = [u for u in kept if arguments.split in (None, u.split)]
    if not utterances:
        raise InputError(f"expected utterances that training has not heard in {arguments.data}, got none")
    scores = np.stack([found.scores for found in answers(model.answer, utterances, trim_db=model.trim_db)])
    labels = np.array([model.task.labels.index(u.label) for u in utterances])
    groups = [u.speaker or u.name for u in utterances]

    def over_speakers(statistic: Callable[[np.ndarray], float]) -> Interval:
        return bootstrap(statistic, groups=groups)

    figures: dict[str, Interval] = {}
    for when, temperature in (("before", 1.0), ("after", model.task.temperature)):
        p = probabilities_of(scores, temperature)
        figures[f"ece_{when}"] = over_speakers(lambda i, p=p: calibration_error(p[i], labels[i]))
        figures[f"nll_{when}"] = over_speakers(
            lambda i, t=temperature: negative_log_likelihood(scores[i], labels[i], t)
        )
        figures[f"unsure_{when}"] = over_speakers(lambda i, p=p: 1 - sure_share(p[i], arguments.sure))
        figures[f"accuracy_of_the_rest_{when}"] = over_speakers(
            lambda i, p=p: sure_accuracy(p[i], labels[i], arguments.sure)
        )
    figures["accuracy"] = over_speakers(lambda i: float((scores[i].argmax(1) == labels[i]).mean()))
    print(f"temperature {model.task.temperature:.3f}, {len(labels)} utterances of {len(set(groups))} speakers")
    for name, figure in figures.items():
        print(f"{name:<30}{figure.value:6.3f}  ({figure.low:.3f} to {figure.high:.3f})")
    print("\nlevel  unsure  accuracy of the rest")
    for level in LEVELS:
        print(f"{level:5.1f}{1 - sure_share(p, level):8.3f}{sure_accuracy(p, labels, level):8.3f}")
    print(
        json.dumps(
            {
                "model": arguments.model.name,
                "split": arguments.split,
                "temperature": model.task.temperature,
                "sure": arguments.sure,
                "utterances": len(labels),
                "speakers": len(set(groups)),
                **{name: asdict(figure) for name, figure in figures.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
