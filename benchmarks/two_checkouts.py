"""Does listening cost less in one checkout than in another? Paired: both in turn, the thread's own time per hop.

python benchmarks/two_checkouts.py OLD NEW [--gate voice|energy] [--streams 1,100] [--rounds 30] [--out benchmarks/results/two_checkouts.md]

Real speech (LibriSpeech excerpts) in blocks of a tenth of a second, the whole of listening, the shipped speaker student of
each checkout; of several streams each hears it from a place of its own, and their hops are spread over time. A process of
each is asked in turn, a run at a time. In the figures a block's shortest time of all runs counts, as other programs only
ever make one slower; the ratios of the pairs are of whole runs.
A core full of streams is hop / cost per hop of them: what `edge-lupi bench --mode streams` finds by trial lies below. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from edge_lupi.device.processor import environment

ONE = """
import json, sys, time
import numpy as np
from sounds import clips
from edge_lupi import Block, Listener, shipped_bundle
streams, tick = int(sys.argv[2]), 1600
sound = np.concatenate(clips(4 if streams == 1 else 40))
ticks = 400 if streams == 1 else 60
starts = np.random.default_rng(0).integers(len(sound) // tick - ticks, size=streams) * tick
starts[0] = 0
def blocks():
    for at in range(ticks):
        begun = [n for n in range(streams) if n % 5 <= at]
        for n in begun:
            first = starts[n] + at * tick
            yield Block(sound[first : first + tick], stream=str(n) if streams > 1 else "", more=n != begun[-1])
listener = Listener(shipped_bundle("speaker"), gallery=None, gate=sys.argv[1])
def run():
    listening, spent = listener.begin(), []
    for block in blocks():
        began = time.thread_time()
        listening.push(block)
        spent.append(time.thread_time() - began)
    return np.array(spent) * 1000 / listening.statistics.segments
run()
least = np.inf
for _ in sys.stdin:
    spent = run()
    least = np.minimum(least, spent)
    print(spent.sum(), least.sum(), flush=True)
"""


class Process:
    """One checkout, listening whenever it is asked to."""

    def __init__(self, checkout: Path, gate: str, streams: int) -> None:
        here = Path(__file__).resolve().parent
        paths = os.pathsep.join([str(checkout.resolve()), str(here)])
        settings = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        command = [
            sys.executable,
            "-c",
            ONE,
            gate,
            str(streams),
        ]  # python looks where it is started first: not in a checkout
        self._child = subprocess.Popen(
            command, cwd=here, env=settings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def per_hop_ms(self) -> tuple[float, float]:
        """Thread time per hop of one more run, and with the shortest time so far of every block."""
        assert self._child.stdin
        assert self._child.stdout
        print(file=self._child.stdin, flush=True)
        now, least = map(float, self._child.stdout.readline().split())
        return now, least

    def end(self) -> None:
        """It ends where nothing more is asked."""
        self._child.communicate()


def in_turn(checkouts: Sequence[Path], gate: str, streams: int, rounds: int) -> dict[str, Any]:
    """Both checkouts run by run; their quartiles of the pairs' ratios, as single runs may be disturbed."""
    old, new = (Process(checkout, gate, streams) for checkout in checkouts)
    pairs = [(old.per_hop_ms(), new.per_hop_ms()) for _ in range(rounds)]
    old.end()
    new.end()
    ratios = statistics.quantiles((new[0] / old[0] for old, new in pairs), n=4)
    return {"old_ms": pairs[-1][0][1], "new_ms": pairs[-1][1][1], "ratio_quartiles": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", type=Path, nargs=2, metavar="OLD NEW")
    parser.add_argument("--gate", default="voice,energy")
    parser.add_argument("--streams", default="1,100")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    title = "| gate | streams | old, ms a hop | new | new / old | of pairs of runs: median, quartiles |"
    found, rows = {}, [title, "|---|---|---|---|---|---|"]
    for gate, streams in product(arguments.gate.split(","), map(int, arguments.streams.split(","))):
        one = found[f"{gate} {streams}"] = in_turn(arguments.checkouts, gate, streams, arguments.rounds)
        low, middle, high = one["ratio_quartiles"]
        least = one["new_ms"] / one["old_ms"]
        rows.append(
            f"| {gate} | {streams} | {one['old_ms']:.3f} | {one['new_ms']:.3f} | {least:.3f} | {middle:.3f} ({low:.3f} to {high:.3f}) |"
        )
        print(rows[-1], flush=True)
    if arguments.out:
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        about = f"`{' '.join(['python benchmarks/two_checkouts.py OLD NEW', f'--rounds {arguments.rounds}'])}`, load {load}; {json.dumps(environment())}"
        arguments.out.write_text("\n".join(["# Cost per hop in two checkouts", "", about, "", *rows, ""]))
    print(json.dumps({"rounds": arguments.rounds, **found, "environment": environment()}))


if __name__ == "__main__":
    main()
