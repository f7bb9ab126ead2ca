"""How many streams does one core serve in real time? `edge-lupi bench --mode streams` on real speech, pinned to one core.

python benchmarks/streams.py [BUNDLE] --seconds 20 [--gate energy]

Every stream is real speech in blocks of 0.1 s that become due by the clock, the streams' hops spread over it. In time is
a p99 of the delay, from the moment a segment's last sample is due to its event, under one hop. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
from sounds import clips

from edge_lupi.bundle.bundle import shipped_bundle
from edge_lupi.device.bench.streams import streams_in_time
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.terminal import log_shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?", default=None)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--gate", default="voice")
    parser.add_argument("--first", type=int, default=50)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    listener = Listener(arguments.bundle or shipped_bundle("speaker"), gallery=None, gate=arguments.gate)
    with log_shown():
        report = streams_in_time(listener, np.concatenate(clips(40)), arguments.seconds, first=arguments.first)
    print(report.text())
    print(json.dumps({"bundle": listener.student.bundle.path.name, "gate": arguments.gate, **report.plain()}))


if __name__ == "__main__":
    main()
