"""Does listening cost less in one checkout than in another? Paired: both in turn, the thread's own time per hop.

python benchmarks/two_checkouts.py OLD NEW [--gate voice|energy] [--rounds 5] [--out benchmarks/results/two_checkouts.md]

Real speech (LibriSpeech excerpts) in blocks of a tenth of a second, the whole of listening, the shipped speaker student of
each checkout. A process of each takes turns; of its runs the fastest counts, as other programs only ever make one slower.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from edge_lupi.device.processor import environment

ONE = """
import json, sys, time
import numpy as np
from sounds import clips
from edge_lupi import Block, Listener, shipped_bundle
sound = np.concatenate(clips(4))[: 16_000 * 40]
blocks = [Block(sound[first : first + 1600]) for first in range(0, len(sound), 1600)]
listener = Listener(shipped_bundle("speaker"), gallery=None, gate=sys.argv[1])
def per_hop_ms():
    began = time.thread_time()
    for _ in listener.listen(blocks): pass
    return (time.thread_time() - began) * 1000 / listener.statistics.segments
per_hop_ms()
print(min(per_hop_ms() for _ in range(4)))
"""


def per_hop_ms(checkout: Path, gate: str) -> float:
    """Thread time per hop of one process."""
    here = Path(__file__).resolve().parent
    paths = os.pathsep.join([str(checkout.resolve()), str(here)])
    settings = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", ONE, gate]  # python looks where it is started first: not in a checkout
    said = subprocess.run(command, cwd=here, env=settings, capture_output=True, text=True, check=True)
    return float(said.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", type=Path, nargs=2, metavar="OLD NEW")
    parser.add_argument("--gate", default="voice,energy")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    found, rows = {}, ["| gate | old, ms a hop | new | new / old, median and range of pairs |", "|---|---|---|---|"]
    for gate in arguments.gate.split(","):
        pairs = [[per_hop_ms(one, gate) for one in arguments.checkouts] for _ in range(arguments.rounds)]
        old, new = (min(pair[place] for pair in pairs) for place in (0, 1))
        ratios = sorted(pair[1] / pair[0] for pair in pairs)
        found[gate] = {"old_ms": old, "new_ms": new, "ratios": ratios}
        middle, low, high = statistics.median(ratios), ratios[0], ratios[-1]
        rows.append(f"| {gate} | {old:.3f} | {new:.3f} | {middle:.3f} ({low:.3f} to {high:.3f}) |")
        print(rows[-1], flush=True)
    if arguments.out:
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        about = f"`{' '.join(['python benchmarks/two_checkouts.py OLD NEW', f'--rounds {arguments.rounds}'])}`, load {load}; {json.dumps(environment())}"
        arguments.out.write_text("\n".join(["# Cost per hop in two checkouts", "", about, "", *rows, ""]))
    print(json.dumps({"rounds": arguments.rounds, **found, "environment": environment()}))


if __name__ == "__main__":
    main()
