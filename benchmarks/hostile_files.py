"""What do files that were made to fill the memory, or never to end, cost before they are refused?

python benchmarks/hostile_files.py [--only WORD]

Each is opened by the verb itself, in a process of its own. Seconds are all it took; MB is its highest resident size above
that of the same verb with a file that does not exist. One sentence, exit code 1, 10 s and 500 MB are what is promised.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from edge_lupi.bundle.bundle import shipped_bundle

STUDENT = Path(__file__).parents[1] / "train" / "students" / "speaker.pt"
MOST_SECONDS, MOST_MB = 10, 500
PATIENCE_SECONDS = 60
BENCH = ("bench", "{}", "--seconds", "1")
COMPILE = ("compile", "{}", "--target", "cpu")

Make = Callable[[Path], Path]  # an empty folder -> the path that the verb is given


@dataclass(frozen=True)
class Case:
    """A file, and the words of the command line with {} for its path."""

    name: str
    make: Make
    command: tuple[str, ...]


def bundle_with(change: Callable[[Path], object]) -> Make:
    """A copy of the shipped bundle, changed; every hash is right afterwards."""

    def make(folder: Path) -> Path:
        path = Path(shutil.copytree(shipped_bundle("speaker"), folder / "x.lupi"))
        change(path)
        return path

    return make


def list_file(bundle: Path, name: str, data: bytes) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / name).write_bytes(data)
    manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def manifest_is(put: Callable[[Path], object]) -> Make:
    return bundle_with(lambda b: ((b / "manifest.json").unlink(), put(b / "manifest.json")))


def npz_bomb(bundle: Path) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, samples=np.zeros(1 << 31, np.int8))
    list_file(bundle, "golden.npz", buffer.getvalue())


def sparse_files(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    for index in range(20):
        with (bundle / f"{index}.bin").open("wb") as file:
            file.truncate(500 << 20)
        manifest["files"][f"{index}.bin"] = {"sha256": "0" * 64, "bytes": 500 << 20}
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def graph(nodes: list[onnx.NodeProto], constants: list[TensorProto], state: int = 257) -> bytes:
    """An aggregator by its names: embedding, state -> utterance, next_state."""
    kind = TensorProto.FLOAT
    given = [helper.make_tensor_value_info(n, kind, ["b", w]) for n, w in (("embedding", 128), ("state", state))]
    made = [helper.make_tensor_value_info(n, kind, ["b", w]) for n, w in (("utterance", 128), ("next_state", state))]
    ends = [
        helper.make_node("Identity", ["embedding"], ["utterance"]),
        helper.make_node("Identity", ["state"], ["next_state"]),
    ]
    model = helper.make_graph([*nodes, *ends], "g", given, made, constants)
    return bytes(
        helper.make_model(model, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )


def endless_loop() -> bytes:
    turn = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["still"])],
        "turn",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("still", TensorProto.BOOL, [])],
    )
    yes, turns = numpy_helper.from_array(np.array(True), "yes"), numpy_helper.from_array(np.array(2**62), "turns")
    return graph([helper.make_node("Loop", ["turns", "yes"], [], body=turn)], [turns, yes])


def eight_gigabytes() -> bytes:
    shape = numpy_helper.from_array(np.array([1 << 31]), "shape")
    return graph([helper.make_node("ConstantOfShape", ["shape"], ["large"])], [shape])


def joined_with_itself() -> bytes:
    names = ["embedding", *(f"t{index}" for index in range(24))]
    return graph([helper.make_node("Concat", [a, a], [b], axis=1) for a, b in pairwise(names)], [])


def aggregator_is(make: Callable[[], bytes]) -> Make:
    return bundle_with(lambda b: list_file(b, "aggregator.speaker.onnx", make()))


def student_with(speech: Callable[[], torch.Tensor]) -> Make:
    def make(folder: Path) -> Path:
        torch.save({**torch.load(STUDENT, weights_only=True), "speech": speech()}, folder / "student.pt")
        return folder / "student.pt"

    return make


def many_channels(folder: Path) -> Path:
    """A second of 1,024 channels at 96 kHz in 24 bits, sparse."""
    size, block = 96_000 * 1024 * 3, 1024 * 3
    form = struct.pack("<IHHIIHH", 16, 1, 1024, 96_000, 96_000 * block, block, 24)
    head = b"RIFF" + struct.pack("<I", size + 36) + b"WAVEfmt " + form + b"data" + struct.pack("<I", size)
    return sparse(folder / "many.wav", head, len(head) + size)


def sparse(path: Path, head: bytes, size: int) -> Path:
    """A file that begins so and is zeros from there on."""
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)
    return path


def packed_trials(folder: Path) -> Path:
    """4 GiB of blank lines, gzipped."""
    path = folder / "trials.txt.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(1 << 8):
            file.write(b"\n" * (1 << 24))
    return path


CASES = [
    Case("1,024 channels", many_channels, ("listen", "--input", "{}")),
    Case(
        "trials.gz, 4 GiB unpacked",
        packed_trials,
        ("evaluate", str(shipped_bundle("speaker")), "--data", ".", "--trials", "{}"),
    ),
    Case("FIFO as manifest", manifest_is(os.mkfifo), BENCH),
    Case("/dev/zero as manifest", manifest_is(lambda path: path.symlink_to("/dev/zero")), BENCH),
    Case("npz bomb, 2 GB", bundle_with(npz_bomb), BENCH),
    Case("20 sparse files, 10 GB", bundle_with(sparse_files), BENCH),
    Case("endless Loop", aggregator_is(endless_loop), BENCH),
    Case("8 GB ConstantOfShape", aggregator_is(eight_gigabytes), BENCH),
    Case("Concat with itself, 8 GB", aggregator_is(joined_with_itself), BENCH),
    Case("a state of 2e9 numbers", aggregator_is(lambda: graph([], [], 2_000_000_000)), BENCH),
    Case(
        "expanded student.pt, 32 GB", student_with(lambda: torch.zeros(1, dtype=torch.int16).expand(1 << 34)), COMPILE
    ),
]


@cache
def at_start(command: tuple[str, ...]) -> float:
    """MB of the verb that is given nothing it could open."""
    return measure(command, Path("nothing.here"))[1]


def measure(command: tuple[str, ...], path: Path) -> tuple[float, float, int, str]:
    """Seconds, highest MB, exit code, and what it said."""
    words = [sys.executable, "-m", "edge_lupi.cli", *(str(path) if word == "{}" else word for word in command)]
    begun = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(words, stdout=said, stderr=said, stdin=subprocess.DEVNULL)
        stopper = threading.Timer(PATIENCE_SECONDS, process.kill)
        stopper.start()
        _, status, used = os.wait4(process.pid, 0)
        stopper.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        return time.perf_counter() - begun, used.ru_maxrss / 1000, process.returncode, said.read().strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="Only cases with this word in their name.")
    asked = parser.parse_args()
    held = []
    print(f"{'file':<28}{'seconds':>8}{'MB':>8}{'exit':>6}  said")
    for case in (case for case in CASES if asked.only in case.name):
        with tempfile.TemporaryDirectory() as folder:
            start = at_start(case.command)
            seconds, most, code, said = measure(case.command, case.make(Path(folder)))
            said = said.replace(folder, "")
        above = max(0.0, most - start)
        held.append(code == 1 and "\n" not in said and seconds < MOST_SECONDS and above < MOST_MB)
        print(f"{case.name:<28}{seconds:8.1f}{above:8.0f}{code:6d}  {said}", flush=True)
    print(json.dumps({"cases": len(held), "held": sum(held)}))
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
