"""How much of the speech did `edge-lupi listen` give to the right speaker?

    edge-lupi listen --input examples/two_voices.flac --json | python examples/agreement.py examples/two_voices.rttm
    edge-lupi listen --input examples/two_voices.flac --rttm found.rttm
    python examples/agreement.py examples/two_voices.rttm found.rttm

Each event speaks for the middle of its segment, one hop long. The labels found are matched one to one with the
reference speakers so that most time agrees. Prints the turns found beside the reference, the share of the speech that
agrees and the diarisation error rate; exit code 1 when less agrees than --least.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from edge_lupi.events import Event
from edge_lupi.frames import Segmentation
from edge_lupi.metrics.diarisation import diarisation_error
from edge_lupi.rttm import Stretch, read_rttm
from edge_lupi.runtime.outputs.turns import Turns


def turns_of(lines: list[str], segmentation: Segmentation) -> list[Stretch]:
    """The turns that lines of `listen --json` make."""
    turns = Turns(segmentation)
    events = [Event(**json.loads(line)) for line in lines if line.strip()]
    ended = [turn for event in events for turn in turns.push(event)] + turns.finish()
    return [Stretch(turn.start_seconds, turn.end_seconds, turn.label) for turn in ended]


def only_file(path: Path) -> list[Stretch]:
    """The stretches of an RTTM file about one recording."""
    ((_, stretches),) = read_rttm(path).items()
    return stretches


def main() -> None:
    """Read, match, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rttm", type=Path, help="who speaks when")
    parser.add_argument("found", type=Path, nargs="?", help="RTTM, or lines of listen --json; else standard input")
    parser.add_argument("--least", type=float, default=0.9, help="share of the speech that must agree (default 0.9)")
    parser.add_argument("--segment-seconds", type=float, default=1.0)
    parser.add_argument("--hop-seconds", type=float, default=0.5)
    arguments = parser.parse_args()
    spoken = only_file(arguments.rttm)
    if arguments.found and arguments.found.suffix == ".rttm":
        heard = only_file(arguments.found)
    else:
        text = arguments.found.read_text(encoding="utf-8") if arguments.found else sys.stdin.read()
        heard = turns_of(text.splitlines(), Segmentation(arguments.segment_seconds, arguments.hop_seconds))
    exact, with_collar = diarisation_error(spoken, heard, collar_seconds=0.0), diarisation_error(spoken, heard)
    agreement = 1 - (exact.missed_seconds + exact.confused_seconds) / exact.spoken_seconds
    rows = [(turn, "spoken") for turn in spoken] + [(turn, "found") for turn in heard]
    for turn, kind in sorted(rows, key=lambda row: (row[0].start_seconds, row[1])):
        means = f"= {exact.matched.get(turn.label, 'nobody')}" if kind == "found" else ""
        print(f"{kind:<7} {turn.start_seconds:7.2f} – {turn.end_seconds:7.2f} s  {turn.label} {means}")
    labels, speakers = {turn.label for turn in heard}, {turn.label for turn in spoken}
    print(f"{len(labels)} labels for {len(speakers)} speakers, {agreement:.1%} of the speech agrees")
    print(f"diarisation error rate {with_collar.rate:.1%} (collar 0.25 s)")
    sys.exit(0 if agreement >= arguments.least else 1)


if __name__ == "__main__":
    main()
