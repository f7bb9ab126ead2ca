"""The int8 encoder beside the same student's fp32 encoder: paired latency on one thread, cosines on held-out speech.

python benchmarks/int8_encoder.py STUDENT.int8.pt --data CORPUS --split held_out [--segments 200] [--runs 400]

Latencies are taken in turn, run by run; the ratio is the median of the pairs' ratios. Also told: torch eager on one
thread, and how many of the nodes ONNX Runtime really runs are int8.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from edge_lupi.audio import read_audio
from edge_lupi.bench.hop import environment
from edge_lupi.compile.student import encoders
from edge_lupi.data.corpora import read_corpus
from edge_lupi.frames import Segmentation
from edge_lupi.models.files import load_student
from edge_lupi.models.front_end import cut, log_mel

LAYERS = ("Conv", "FusedConv", "QLinearConv", "Gemm", "QGemm", "MatMul", "QLinearMatMul")


def held_out_segments(corpus: Path, split: str, segmentation: Segmentation, count: int) -> np.ndarray:
    """log-mel [count, 80, 1, F]: the second segment of as many utterances as needed, then the third, and so on."""
    utterances = [u for u in read_corpus(corpus).utterances if u.split == split]
    cuts = [cut(log_mel(torch.from_numpy(read_audio(u.audio))[None]), segmentation)[0] for u in utterances]
    deepest = max(len(segments) for segments in cuts)
    picked = [segments[depth] for depth in range(1, deepest) for segments in cuts if depth < len(segments)]
    return torch.stack(picked[:count]).numpy()


def paired_ms(
    runners: dict[str, Callable[[np.ndarray], object]], segments: np.ndarray, runs: int
) -> dict[str, np.ndarray]:
    """Milliseconds [runs] of every runner, the runners taking turns."""
    taken: dict[str, list[float]] = {name: [] for name in runners}
    for run in range(-20, runs):
        segment = segments[run % len(segments)][None]
        for name, call in runners.items():
            began = time.perf_counter()
            call(segment)
            if run >= 0:
                taken[name].append(1e3 * (time.perf_counter() - began))
    return {name: np.array(values) for name, values in taken.items()}


def session(graph: onnx.ModelProto, optimised: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.optimized_model_filepath = str(optimised)
    return onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", required=True)
    parser.add_argument("--segments", type=int, default=200)
    parser.add_argument("--runs", type=int, default=400)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    trained = load_student(arguments.student)
    segments = held_out_segments(
        arguments.data, arguments.split, trained.student.config.segmentation, arguments.segments
    )
    graphs = encoders(trained)
    with tempfile.TemporaryDirectory() as folder:
        sessions = {name: session(graph, Path(folder) / f"{name}.onnx") for name, graph in graphs.items()}
        nodes = Counter(node.op_type for node in onnx.load(Path(folder) / "int8.onnx").graph.node)
    answers = {
        name: np.concatenate([s.run(None, {"log_mel": x[None]})[0] for x in segments]) for name, s in sessions.items()
    }
    cosine = (answers["int8"] * answers["fp32"]).sum(1)
    cosine /= np.linalg.norm(answers["int8"], axis=1) * np.linalg.norm(answers["fp32"], axis=1)
    eager = trained.student.encoder.eval()
    runners: dict[str, Callable[[np.ndarray], object]] = {
        name: lambda x, s=s: s.run(None, {"log_mel": x}) for name, s in sessions.items()
    }
    with torch.inference_mode():
        runners["torch eager"] = lambda x: eager(torch.from_numpy(x))
        taken = paired_ms(runners, segments, arguments.runs)
    layers = {name: count for name, count in nodes.items() if name in LAYERS}
    result = {
        "size": trained.student.config.size,
        "p50_ms": {name: round(float(np.median(ms)), 3) for name, ms in taken.items()},
        "p99_ms": {name: round(float(np.percentile(ms, 99)), 3) for name, ms in taken.items()},
        "int8_times_as_fast_as": {
            name: round(float(np.median(ms / taken["int8"])), 2) for name, ms in taken.items() if name != "int8"
        },
        "runs": arguments.runs,
        "cosine_mean": round(float(cosine.mean()), 5),
        "cosine_worst": round(float(cosine.min()), 5),
        "segments": len(segments),
        "int8_layers": f"{sum(c for name, c in layers.items() if name.startswith('Q'))} of {sum(layers.values())}",
        "nodes": dict(nodes),
        "environment": environment(),
    }
    for key, value in result.items():
        print(f"{key:<24}{value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
