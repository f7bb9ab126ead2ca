"""Does another hop than the student was trained with hurt? Equal error rates on the speakers its recipe validates with.

python benchmarks/hops.py [BUNDLE]

Every recording of the 20 validation speakers of train/speaker_librispeech.toml is cut into pieces of 1.5, 3 or 5 s; pieces of one
recording should be alike. `told`: the cosine of the two kinds of pairs, of which a threshold must lie between.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
from sounds import data_root

from edge_lupi.bundle.bundle import Bundle, shipped_bundle
from edge_lupi.data.readers.librispeech import read_librispeech
from edge_lupi.data.splits import split
from edge_lupi.frames import SAMPLE_RATE_HZ, Segmentation
from edge_lupi.metrics.verification import eer
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.segments import Segmenter
from edge_lupi.sound.audio import read_audio

HOPS = (0.1, 0.25, 0.5, 1.0)
PIECES_SECONDS = (1.5, 3.0, 5.0)


def voice(student: CompiledStudent, samples: np.ndarray, hop_seconds: float) -> np.ndarray:
    segmenter = Segmenter(student.log_mel, Segmentation(student.segmentation.seconds, hop_seconds))
    state = student.initial_state()
    for segment in segmenter.push(samples):
        step = student.step(student.encode(segment.log_mel[None]), state)
        state = step.state
    return step.embedding[0] / np.linalg.norm(step.embedding[0])


def measured(student: CompiledStudent, recordings: list[np.ndarray], seconds: float, hop_seconds: float) -> dict:
    length = round(seconds * SAMPLE_RATE_HZ)
    voices = [
        (speaker, voice(student, samples[start : start + length], hop_seconds))
        for speaker, samples in enumerate(recordings)
        for start in range(0, len(samples) - length + 1, length)
    ]
    pairs = list(itertools.combinations(voices, 2))
    scores = np.array([float(a @ b) for (_, a), (_, b) in pairs])
    same = np.array([left == right for (left, _), (right, _) in pairs])
    found = eer(scores, same)
    return {
        "seconds": seconds,
        "hop_seconds": hop_seconds,
        "eer": float(found.value),
        "threshold": float(found.threshold),
        "told": [float(np.median(scores[same])), float(np.median(scores[~same]))],
        "pairs": [int(same.sum()), int((~same).sum())],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?", default=None)
    arguments = parser.parse_args()
    student = CompiledStudent(Bundle.load(arguments.bundle or shipped_bundle("speaker")))
    parts = split(read_librispeech(data_root() / "librispeech_excerpts"), "held_out", validation_speakers=0.1, seed=0)
    recordings = [read_audio(utterance.audio) for utterance in parts.validation]
    rows = [measured(student, recordings, seconds, hop) for seconds in PIECES_SECONDS for hop in HOPS]
    for row in rows:
        print(
            f"{row['seconds']} s, hop {row['hop_seconds']:.2f} s: EER {100 * row['eer']:.1f} % at {row['threshold']:.2f}, "
            f"cosine {row['told'][0]:.2f} of one voice, {row['told'][1]:.2f} of two ({row['pairs'][0]} and {row['pairs'][1]} pairs)"
        )
    print(json.dumps({"bundle": student.bundle.path.name, "speakers": len(recordings), "rows": rows}))


if __name__ == "__main__":
    main()
