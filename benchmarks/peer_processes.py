"""A peer as a process of its own: seconds from its start to the first embedding, and its memory then.

Each program imports only what the peer needs and reads its graph from a file. The folders of the packages it needs are its
size on disk beside the model.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

GRAPH = """
import sys, numpy as np
from edge_lupi.runtime.front_end import FftFrontEnd
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
network = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
features = FftFrontEnd()(np.random.default_rng(0).standard_normal(240 + 16_000 * 3 // 2).astype(np.float32) * 0.05).T
network.run(None, {"features": features[None]})
"""
RESEMBLYZER = """
import numpy as np, torch
from resemblyzer import VoiceEncoder
from resemblyzer.audio import wav_to_mel_spectrogram
torch.set_num_threads(1)
sound = np.random.default_rng(0).standard_normal(25_600).astype(np.float32) * 0.05
VoiceEncoder("cpu", verbose=False)(torch.from_numpy(wav_to_mel_spectrogram(sound)[None]))
"""
OPENVINO = """
import sys, numpy as np, openvino
from edge_lupi.runtime.front_end import FftFrontEnd
core = openvino.Core()
graph = core.read_model(sys.argv[1])
graph.reshape([1, 80, 1, 100])
network = core.compile_model(graph, "CPU", {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1})
features = FftFrontEnd()(np.random.default_rng(0).standard_normal(16_240).astype(np.float32) * 0.05)
network([features[None, :, None]])
"""
OURS = """
import numpy as np
from edge_lupi import Block, Listener, shipped_bundle
listening = Listener(shipped_bundle("speaker"), gallery=None).begin()
for _ in range(4):
    listening.push(Block(np.random.default_rng(0).standard_normal(8_000).astype(np.float32) * 0.05))
"""
# the most memory so far, and not that of the process that started it, as getrusage has it
MEMORY = """
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@dataclass(frozen=True)
class Process:
    """Medians of a few starts; `package_mb` are the folders of what it imports, numpy's among them."""

    wall_seconds: float
    cpu_seconds: float
    memory_mb: float
    package_mb: float


def started(program: str, arguments: list[str], packages: tuple[str, ...], runs: int = 3) -> Process:
    """Run it a few times; raises CalledProcessError where it fails."""
    taken = []
    for _ in range(runs):
        began = time.perf_counter()
        command = [sys.executable, "-c", program + MEMORY, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        said = process.stdout.read().split()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, program)
        taken.append((time.perf_counter() - began, used.ru_utime + used.ru_stime, int(said[-1]) / 1024))
    return Process(*np.median(taken, 0).tolist(), sum(folder_mb(package) for package in packages))


def folder_mb(package: str) -> float:
    """A package's own folder, and the libraries that its wheel puts beside it."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return 0.0
    folder = Path(next(iter(spec.submodule_search_locations)))
    beside = folder.with_name(f"{folder.name}.libs")
    files = [file for place in (folder, beside) if place.is_dir() for file in place.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


def processes(campplus: Path, ecapa: Callable[[int], bytes], nano: bytes, folder: Path) -> dict[str, Process]:
    """Of every kind of peer; graphs are written to `folder`."""
    onnx = ("onnxruntime", "numpy")
    found = {}
    for width in (512, 1024):
        path = folder / f"ecapa{width}.onnx"
        path.write_bytes(ecapa(width))
        found[f"ECAPA-{width}"] = started(GRAPH, [str(path)], onnx)
    found["CAM++"] = started(GRAPH, [str(campplus)], onnx)
    found["Resemblyzer"] = started(
        RESEMBLYZER, [], ("resemblyzer", "torch", "librosa", "numpy", "scipy", "numba", "llvmlite"), 1
    )
    path = folder / "nano.onnx"
    path.write_bytes(nano)
    found["ours nano's encoder alone, int8, OpenVINO"] = started(OPENVINO, [str(path)], ("openvino", "numpy"), 1)
    found["ours, the shipped student with gate and tracker"] = started(OURS, [], ("edge_lupi", *onnx))
    return found
