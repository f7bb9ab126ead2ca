"""What a clip's face and sound tell of its emotion, by a classifier that does not know its speaker. -> .npz for distil.outputs

    python train/sight_outputs.py $EDGE_LUPI_DATA/ravdess_av $EDGE_LUPI_DATA/sight_outputs.npz

A teacher's own training clips are the student's, too: there it knows every label, with its eyes shut as well (98 and 97 %),
so what it sees makes no difference. Here speakers of the training part are told by a logistic regression on the others
(cross-fitting: Dao et al. 2021, arXiv 2104.09732), from action units and log-mel statistics:

    clip [N], classes [C]; seen, shuffled (every clip with the action units of another), heard: log-odds [fold, N, C], NaN for test clips
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edge_lupi.data.readers.ravdess import read_ravdess
from edge_lupi.data.speech import read_speech
from edge_lupi.data.utterance import Utterance
from edge_lupi.train.examples.clips import frames_of, strangers

FOLDS, GROUPS = 5, 5
TRIM_DB = 30.0
PENALTY = 0.1  # of squared weights


def sound(utterance: Utterance) -> Tensor:
    """Mean, spread, highest and movement of every mel band [320]."""
    frames = torch.from_numpy(frames_of(read_speech(utterance, TRIM_DB)[0], 10))
    return torch.cat([frames.mean(0), frames.std(0), frames.amax(0), frames.diff(dim=0).std(0)])


def standardised(features: Tensor) -> Tensor:
    """Mean 0 and spread 1 per column."""
    return (features - features.mean(0)) / features.std(0).clamp_min(1e-3)


def fitted(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Weights [D + 1, C] of a logistic regression."""
    weights = torch.zeros(features.shape[1] + 1, classes, dtype=features.dtype, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(told(features, weights), labels) + PENALTY * weights[:-1].square().sum() / 2
        value.backward()
        return value

    optimiser.step(loss)
    return weights.detach()


def told(features: Tensor, weights: Tensor) -> Tensor:
    """Log-odds [N, C]."""
    return features @ weights[:-1] + weights[-1]


def cross_fitted(features: Tensor, labels: Tensor, speakers: list[str], classes: int) -> Tensor:
    """Log-odds [N, C] of every row by the other groups of speakers."""
    group = {speaker: number % GROUPS for number, speaker in enumerate(sorted(set(speakers)))}
    rows = torch.tensor([group[speaker] for speaker in speakers])
    said = torch.zeros(len(rows), classes, dtype=features.dtype)
    for number in range(GROUPS):
        mine = rows == number
        said[mine] = told(features[mine], fitted(features[~mine], labels[~mine], classes))
    return said


def main() -> None:
    """Write the file, and say of every fold how well its training clips are told."""
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    corpus = read_ravdess(asked.corpus)
    labels = torch.tensor([corpus.labels.index(u.label) for u in corpus.utterances])
    heard = torch.stack([sound(u) for u in corpus.utterances]).double()
    seen = torch.tensor([u.video.features for u in corpus.utterances], dtype=torch.float64)
    found = {name: np.full((FOLDS, len(labels), len(corpus.labels)), np.nan) for name in ("seen", "shuffled", "heard")}
    for fold in range(FOLDS):
        rows = torch.tensor([n for n, u in enumerate(corpus.utterances) if u.split != f"fold{fold}"])
        speakers = [corpus.utterances[n].speaker for n in rows.tolist()]
        ear, eye = standardised(heard[rows]), standardised(seen[rows])
        other = eye[torch.from_numpy(strangers(len(rows), fold))]
        for name, features in (("seen", [ear, eye]), ("shuffled", [ear, other]), ("heard", [ear])):
            said = cross_fitted(torch.cat(features, 1), labels[rows], speakers, len(corpus.labels))
            found[name][fold, rows] = said.numpy()
            right = (said.argmax(1) == labels[rows]).double()
            recall = np.mean([right[labels[rows] == label].mean() for label in range(len(corpus.labels))])
            print(f"fold {fold}  {name:8s}  UAR {100 * recall:.1f} %  loss {F.cross_entropy(said, labels[rows]):.3f}")
    np.savez_compressed(
        asked.out,
        clip=np.array([u.name for u in corpus.utterances]),
        classes=np.array(corpus.labels),
        **{name: said.astype(np.float32) for name, said in found.items()},
    )


if __name__ == "__main__":
    main()
