"""Trainings killed at any moment, again and again: is what they leave old or new and whole, and does every rerun finish the same?

python benchmarks/killed_training.py [--kills 16] [--clips 12] [--only sweep]

On some clips of RAVDESS ($EDGE_LUPI_DATA), pico networks, two epochs: a student from labels alone, a student under a
teacher whose cache it writes, and a sweep of three arms. Each is first run unbroken and timed; then it is begun anew and
killed (SIGKILL) after a random part of that time, begun again in the same folder and killed again, three times, and then
left to finish. What is there after every kill must be whole; the finished files must be those of the unbroken run.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edge_lupi.disk import TEMPORARY
from edge_lupi.models.files import load_student, load_teacher

KILLS_A_RUN = 3
WORKERS_NOTICE_SECONDS = 1.5  # that their sweep was killed
RECIPE = """name = "killed"
[data]
root = "{root}"
task = "emotion"
test = "test"
validation_speakers = 0.4
[teacher]
size = "pico"
video = "none"
epochs = 2
batch = 8
[student]
size = "pico"
epochs = 2
batch = 8
[qat]
epochs = 1
batch = 8
[arms.teacher]
stage = "teacher"
[arms.taught]
under = ["teacher"]
[arms.int8]
stage = "qat"
under = ["taught"]
"""


def make_recipe(folder: Path, clips: int) -> Path:
    """So many clips of each of four actors, two emotions; the last actor is held out."""
    corpus = Path(os.environ.get("EDGE_LUPI_DATA", ".")) / "ravdess_av"
    with (corpus / "labels.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["emotion"] in ("happy", "sad")]
    lines = ["audio,label,speaker,split"]
    for actor in range(1, 5):
        mine = [row for row in rows if int(row["actor"]) == actor]
        for row in mine[:: max(1, 4 * len(mine) // clips)]:  # of both emotions
            split = "test" if actor == 4 else "train"
            lines.append(f"{corpus / row['audio']},{row['emotion']},actor{actor},{split}")
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    (folder / "killed.toml").write_text(RECIPE.format(root=folder / "clips.csv"))
    return folder / "killed.toml"


def begin(words: list[str], out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edge_lupi.cli", "train", *words, "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)


def content_of(path: Path) -> Any:
    """What a finished file says, less times and places. Raises where it is not whole."""
    if path.suffix == ".pt":
        if path.name == "teacher.pt":
            teacher, _ = load_teacher(path)
            return {name: value.numpy().tobytes() for name, value in teacher.state_dict().items()}
        trained = load_student(path)
        return {name: value.numpy().tobytes() for name, value in trained.student.state_dict().items()}
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as kept:
            return {name: kept[name].tobytes() for name in kept.files}
    if path.suffix == ".checkpoint":
        return torch.load(path, weights_only=True)["epoch"] and None
    if path.suffix == ".json":
        return without_times(json.loads(path.read_text()))
    return None


def without_times(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: without_times(value) for key, value in content.items() if key != "seconds"}
    return [without_times(value) for value in content] if isinstance(content, list) else content


def whole_files(out: Path) -> Iterator[tuple[str, Any]]:
    """Name and content of all that has its name; temporaries have not."""
    for path in sorted(out.rglob("*")) if out.exists() else []:
        if path.is_file() and not path.name.startswith("."):
            yield str(path.relative_to(out)), content_of(path)


def left_overs(out: Path) -> list[str]:
    return [path.name for path in out.rglob(".*") if path.is_file()]


def killed_again_and_again(run: Callable[[Path], subprocess.Popen[str]], out: Path, seconds: float, draw: random.Random) -> Counter[str]:  # fmt: skip
    """Begin, kill, look; then let it finish. Counts kills, temporaries that were seen, and faults."""
    found: Counter[str] = Counter()
    for _ in range(KILLS_A_RUN):
        process = run(out)
        time.sleep(draw.uniform(0.3, 1.0) * seconds)
        process.kill()
        process.communicate()
        found["killed"] += process.returncode < 0
        time.sleep(WORKERS_NOTICE_SECONDS)
        found["temporaries"] += sum(name.startswith(TEMPORARY) for name in left_overs(out))
        try:
            found["whole"] += sum(1 for _ in whole_files(out))
        except Exception as error:  # whatever a torn file provokes is what is looked for
            found["torn"] += 1
            print(f"torn: {error}", file=sys.stderr)
    process = run(out)
    _, said = process.communicate()
    if process.returncode:
        found["reruns that fail"] += 1
        print(said, file=sys.stderr)
    found["left behind"] += len(left_overs(out))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=16, help="of each training")
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--only", help="one of the trainings")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    draw = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = str(make_recipe(folder, asked.clips))
        begin(["teacher", recipe], folder / "taught").communicate()
        runs = {
            "student": ["student", recipe, "--audio-only"],
            "student and cache": ["student", recipe],
            "sweep": ["sweep", recipe, "--seeds", "1", "--jobs", "2"],
        }
        table = {}
        for title, words in runs.items():
            if asked.only not in (None, title):
                continue
            began, unbroken = time.monotonic(), folder / f"unbroken {title}"
            beside_a_teacher(folder, unbroken)
            begin(words, unbroken).communicate()
            seconds, wanted = time.monotonic() - began, dict(whole_files(unbroken))
            found: Counter[str] = Counter()
            while found["killed"] < asked.kills and found["runs"] < asked.kills:
                out = folder / f"{title} {found['runs']}"
                beside_a_teacher(folder, out)
                found += killed_again_and_again(lambda out: begin(words, out), out, seconds, draw)  # noqa: B023
                found["runs"] += 1
                found["runs that end otherwise"] += dict(whole_files(out)) != wanted
                shutil.rmtree(out)
            table[title] = {"seconds unbroken": round(seconds, 1), **found}
    print_table(table)


def beside_a_teacher(folder: Path, out: Path) -> None:
    """A student learns from the teacher in its folder, and keeps its embeddings there."""
    out.mkdir()
    shutil.copy(folder / "taught" / "teacher.pt", out)


def print_table(table: dict[str, dict[str, Any]]) -> None:
    columns = ("seconds unbroken", "runs", "killed", "whole", "torn", "temporaries", "left behind", "reruns that fail", "runs that end otherwise")  # fmt: skip
    print("| training | " + " | ".join(columns) + " |\n|---" * 1 + "|---" * len(columns) + "|")
    for title, found in table.items():
        print(f"| {title} | " + " | ".join(str(found.get(name, 0)) for name in columns) + " |")
    print(json.dumps(table))


if __name__ == "__main__":
    main()
