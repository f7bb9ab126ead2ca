"""How much of the speech did `edge-lupi listen` give to the right speaker?

    edge-lupi listen --input examples/two_voices.flac --json | python examples/agreement.py examples/two_voices.rttm

Each event speaks for the middle of its segment, one hop long. The labels found are matched one to one with the
reference speakers so that most time agrees. Prints the turns found beside the reference and the share of the speech
that agrees; exit code 1 when it is less than --least.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import permutations
from pathlib import Path

import numpy as np

FRAMES_PER_SECOND = 100
MOST_LABELS = 8  # the best matching is found by trying all


def reference(path: Path) -> list[tuple[float, float, str]]:
    """(start, end, speaker) of every line of an RTTM file, in seconds."""
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("SPEAKER")]
    return sorted((float(row[3]), float(row[3]) + float(row[4]), row[7]) for row in rows)


def found(lines: list[str], segment_seconds: float, hop_seconds: float) -> list[tuple[float, float, str]]:
    """(start, end, label) of the middle of every event's segment, in seconds."""
    trim = (segment_seconds - hop_seconds) / 2
    events = [json.loads(line) for line in lines if line.strip()]
    return [
        (event.get("start", event["time"] - segment_seconds) + trim, event["time"] - trim, event["label"])
        for event in events
    ]


def joined(stretches: list[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """Neighbours of one label as one turn."""
    turns: list[tuple[float, float, str]] = []
    for start, end, label in stretches:
        if turns and turns[-1][2] == label and start <= turns[-1][1] + 0.01:
            turns[-1] = (turns[-1][0], end, label)
        else:
            turns.append((start, end, label))
    return turns


def frames(stretches: list[tuple[float, float, str]], label: str, count: int) -> np.ndarray:
    """Where a label holds, bool [count], a frame every 10 ms."""
    holds = np.zeros(count, bool)
    for start, end, name in stretches:
        if name == label:
            holds[max(0, round(start * FRAMES_PER_SECOND)) : max(0, round(end * FRAMES_PER_SECOND))] = True
    return holds


def best_matching(
    spoken: list[tuple[float, float, str]], heard: list[tuple[float, float, str]]
) -> tuple[dict[str, str], float]:
    """Label -> speaker, one to one, and the share of the reference speech that then agrees."""
    count = round(max(end for _, end, _ in spoken + heard) * FRAMES_PER_SECOND) + 1
    speakers = sorted({speaker for _, _, speaker in spoken})
    labels = sorted({label for _, _, label in heard}, key=lambda label: -frames(heard, label, count).sum())[
        :MOST_LABELS
    ]
    shared = {
        (speaker, label): (frames(spoken, speaker, count) & frames(heard, label, count)).sum()
        for speaker in speakers
        for label in labels
    }
    padded = labels + [""] * len(speakers)
    best = max(
        permutations(padded, len(speakers)),
        key=lambda order: sum(shared.get(pair, 0) for pair in zip(speakers, order, strict=True)),
    )
    agreed = sum(shared.get(pair, 0) for pair in zip(speakers, best, strict=True))
    total = sum(frames(spoken, speaker, count).sum() for speaker in speakers)
    return {label: speaker for speaker, label in zip(speakers, best, strict=True) if label}, float(agreed / total)


def main() -> None:
    """Read, match, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rttm", type=Path, help="who speaks when")
    parser.add_argument("events", type=Path, nargs="?", help="lines of listen --json; without it, standard input")
    parser.add_argument("--least", type=float, default=0.9, help="share of the speech that must agree (default 0.9)")
    parser.add_argument("--segment-seconds", type=float, default=1.0)
    parser.add_argument("--hop-seconds", type=float, default=0.5)
    arguments = parser.parse_args()
    lines = (
        arguments.events.read_text(encoding="utf-8").splitlines() if arguments.events else sys.stdin.read().splitlines()
    )
    spoken = reference(arguments.rttm)
    heard = found(lines, arguments.segment_seconds, arguments.hop_seconds)
    matching, agreement = best_matching(spoken, heard)
    rows = [(*turn, "spoken") for turn in spoken] + [(*turn, "found") for turn in joined(heard)]
    for start, end, name, kind in sorted(rows, key=lambda row: (row[0], row[3])):
        means = f"= {matching.get(name, 'nobody')}" if kind == "found" else ""
        print(f"{kind:<7} {start:7.2f} – {end:7.2f} s  {name} {means}")
    print(
        f"{len({name for _, _, name in heard})} labels for {len({name for _, _, name in spoken})} speakers, {agreement:.1%} of the speech agrees"
    )
    sys.exit(0 if agreement >= arguments.least else 1)


if __name__ == "__main__":
    main()
