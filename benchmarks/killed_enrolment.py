"""Enrolling and removing by the verbs themselves, killed again and again: is the gallery whole, is anybody's sound left?

python benchmarks/killed_enrolment.py ALICE.flac BOB.flac BOB_AGAIN.flac [--kills 60]

Alice is known all the while. Bob is enrolled with --keep-audio, enrolled anew from another recording with --replace, and removed, in turn;
each is killed, half of them at any moment from their start, half as soon as a file changes. Then the gallery must be the
old one or the new one, nobody whom it does not know but once knew may have a recording, and the same verb must finish.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from edge_lupi.disk import TEMPORARY
from edge_lupi.runtime.speakers.gallery import Gallery
from edge_lupi.runtime.speakers.recordings import Recordings

LONGEST_DELAY_SECONDS = 0.03  # after a file was seen to change: what writing takes, and a little more


def started(*words: str | Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "edge_lupi.cli", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finished(*words: str | Path) -> str:
    """Nothing, or what it said why it could not."""
    process = started(*words)
    _, said = process.communicate()
    return said.decode() if process.returncode else ""


def seconds_of(words: Sequence[str | Path]) -> float:
    began = time.perf_counter()
    finished(*words)
    return time.perf_counter() - began


def on_disk(folder: Path) -> set[tuple[str, int]]:
    return {(os.path.join(at, file), os.stat(at).st_mtime_ns) for at, _, files in os.walk(folder) for file in files}


def killed(process: subprocess.Popen[bytes], folder: Path, seconds: float, draw: random.Random) -> bool:
    """End it at a moment of chance; whether it was still at work."""
    if draw.random() < 0.5:
        time.sleep(draw.uniform(0, seconds))
    else:
        before = on_disk(folder)
        while process.poll() is None and on_disk(folder) == before:
            time.sleep(0.0005)
        time.sleep(draw.uniform(0, LONGEST_DELAY_SECONDS))
    process.kill()
    process.communicate()
    return process.returncode < 0


def moment(gallery_changed: bool, sound_changed: bool) -> str:
    return "after the change" if gallery_changed else "within the change" if sound_changed else "before the change"


def state(path: Path) -> dict[str, bytes]:
    """Who is known, by what; reading fails where the gallery is not whole."""
    gallery = Gallery.load(path)
    return {name: gallery.exemplars(name).tobytes() for name in gallery.names}


def faults_after_a_kill(path: Path, before: dict[str, bytes], words: Sequence[str | Path]) -> list[str]:
    """What is wrong after a kill, and after doing again what was killed."""
    found, after, recordings, removing = list[str](), state(path), Recordings(path), words[1] == "remove"
    if after.get("alice") != before.get("alice"):
        found.append("alice has changed")
    if removing and after.get("bob", before.get("bob")) != before.get("bob"):
        found.append("half removed")
    if removing and "bob" not in after and recordings.of("bob"):
        found.append("forgotten, but recorded")
    said = finished(*words)
    if said and not (removing and "bob" not in after):  # who is gone already cannot be removed
        found.append(f"could not be finished: {said}")
    if ("bob" in state(path)) == removing or bool(recordings.of("bob")) == removing:
        found.append("not finished")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("alice", type=Path)
    parser.add_argument("bob", type=Path)
    parser.add_argument("again", type=Path)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    faults, kills, moments = Counter[str](), Counter[str](), Counter[str]()
    draw, began = random.Random(arguments.seed), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speakers.json"
        options = ("--keep-audio", "--gallery", path)
        verbs: dict[str, tuple[str | Path, ...]] = {
            "enrol": ("enroll", "bob", "--input", arguments.bob, *options),
            "replace": ("enroll", "bob", "--input", arguments.again, *options, "--replace"),
            "remove": ("speakers", "remove", "bob", "--gallery", path),
        }
        finished("enroll", "alice", "--input", arguments.alice, *options)
        seconds = {name: seconds_of(words) for name, words in verbs.items()}
        while kills.total() < arguments.kills:
            for name, words in verbs.items():
                before, sound = state(path), on_disk(Recordings(path).folder)
                at_work = killed(started(*words), Path(folder), seconds[name], draw)
                kills[name] += at_work
                if at_work:
                    changed = state(path) != before, on_disk(Recordings(path).folder) != sound
                    moments[moment(*changed)] += 1
                faults.update(faults_after_a_kill(path, before, words))
        left = [file.name for file in Path(folder).rglob("*") if file.name.startswith(TEMPORARY)]
        of_nobody = len(list(Recordings(path).folder.iterdir())) - 1
    found = {
        "killed": dict(kills),
        "moments": dict(moments),
        "faults": dict(faults),
        "left": left,
        "recordings_of_nobody": of_nobody,
    }
    print(f"killed {kills.total()} in {time.perf_counter() - began:.0f} s; {found}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
