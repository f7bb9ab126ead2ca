"""Is a stream what the whole is, whatever its blocks? Embeddings beside offline ones, and events, on real speech.

edge-lupi compile runs/speaker_librispeech/student.int8.pt --precision fp32 --out /tmp/float.lupi
python benchmarks/blocks.py /tmp/float.lupi --minutes 10
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sounds import Samples, clips

from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.runtime.segments import Segmenter
from edge_lupi.runtime.sources.block import Block

SIZES = ("1", "7", "160", "1600", "16000", "random")


def cut(samples: Samples, size: str) -> Iterator[Block]:
    random, start = np.random.default_rng(0), 0
    while start < len(samples):
        length = int(random.integers(1, 16_000)) if size == "random" else int(size)
        yield Block(samples[start : start + length], 0.0)
        start += length


def embeddings(student: CompiledStudent, samples: Samples, size: str) -> Iterator[np.ndarray]:
    segmenter = Segmenter(student.log_mel, student.segmentation)
    for block in cut(samples, size):
        for segment in segmenter.push(block.samples):
            yield student.encode(segment.log_mel[None])[0]


def offline(student: CompiledStudent, samples: Samples) -> Iterator[np.ndarray]:
    for segment in student.segments(samples):
        yield student.encode(segment[None])[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    wanted = round(arguments.minutes * 60 * SAMPLE_RATE_HZ)
    heard = clips(200)
    copies = -(-wanted // sum(map(len, heard)))
    samples = np.concatenate(heard * copies)[:wanted]
    listener = Listener(arguments.bundle, gallery=None)
    whole = np.stack(list(offline(listener.student, samples)))
    found = {}
    first: list[tuple[float, float, str]] = []
    for size in SIZES:
        streamed = embeddings(listener.student, samples, size)
        pairs = itertools.zip_longest(streamed, whole)
        worst = max(float(np.abs(a - b).max()) for a, b in pairs)
        events = [(e.start, e.time, e.label) for e in listener.listen(cut(samples, size))]
        first = first or events
        found[size] = {"worst_difference": worst, "events": len(events), "same_events": events == first}
        print(
            f"blocks of {size:>6}: embeddings within {worst:.1e} of offline, {len(events)} events, same {events == first}"
        )
    print(json.dumps({"bundle": arguments.bundle.name, "minutes": arguments.minutes, "segments": len(whole), **found}))


if __name__ == "__main__":
    main()
