"""Two compile runs at once into one bundle, one of them killed as it writes, again and again: is it always a whole one?

python benchmarks/killed_compile.py [--kills 20]

The shipped speaker and emotion students are compiled to one path by the verb itself, so whose bundle is there can be
told. A reader loads it all the while; what it finds must be one of the two, whole, from the first that was written on.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.disk import temporary_prefix
from edge_lupi.errors import BundleError

STUDENTS = [Path(__file__).parents[1] / "train" / "students" / f"{task}.pt" for task in ("speaker", "emotion")]
LONGEST_DELAY_SECONDS = 0.03  # after its folder was seen: what writing takes, and a little more


def compile_into(out: Path, student: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "edge_lupi.cli", "compile", str(student), "--out", str(out)]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Reader(threading.Thread):
    """Loads the bundle until told to stop; counts what it found by the task of the student, and what it was refused."""

    def __init__(self, bundle: Path) -> None:
        super().__init__(daemon=True)
        self.bundle, self.stopped = bundle, threading.Event()
        self.found: Counter[str] = Counter()

    def run(self) -> None:
        while not self.stopped.is_set():
            try:
                self.found[" and ".join(Bundle.load(self.bundle).tasks)] += 1
            except BundleError as error:
                self.found[f"refused: {error}"] += 1
            time.sleep(0.002)


def kill_as_it_writes(out: Path, running: list[subprocess.Popen[bytes]], draw: random.Random) -> bool:
    """Wait for a folder that is being written, then kill one of the two; whether it was still at work."""
    while not list(out.parent.glob(temporary_prefix(out) + "*")):
        if all(process.poll() is not None for process in running):
            return False
        time.sleep(0.0005)
    time.sleep(draw.uniform(0, LONGEST_DELAY_SECONDS))
    victim = draw.choice(running)
    victim.kill()
    return victim.wait() < 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "x.lupi"
        compile_into(out, STUDENTS[0]).wait()
        reader = Reader(out)
        reader.start()
        killed = rounds = 0
        began = time.perf_counter()
        while killed < arguments.kills and rounds < 3 * arguments.kills:
            running = [compile_into(out, student) for student in STUDENTS]
            killed += kill_as_it_writes(out, running, draw)
            for process in running:
                process.wait()
            rounds += 1
        compile_into(out, STUDENTS[1]).wait()  # clears what the killed ones left
        reader.stopped.set()
        reader.join()
        left = sorted(path.name for path in Path(folder).iterdir())
    found = {"killed": killed, "rounds": rounds, "found": dict(reader.found), "left": left}
    print(f"killed {killed} of {2 * rounds} compile runs in {time.perf_counter() - began:.0f} s; {found}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
