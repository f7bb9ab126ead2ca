"""The int8 encoder beside the same student's fp32 encoder: paired latency on one thread, cosines on held-out speech.

python benchmarks/int8_encoder.py STUDENT.int8.pt|SIZE --data CORPUS --split held_out [--segments 200] [--runs 400]

Latencies are taken in turn, run by run; the ratio is the median of the pairs' ratios. Also told: torch eager on one
thread, and how many of the layers and nodes ONNX Runtime really runs are int8. A size instead of a student (base) is
timed with untrained weights, which tells nothing of closeness.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from edge_lupi.compile.graphs.optimised import int8_share, optimised_graph
from edge_lupi.compile.student import encoders
from edge_lupi.data.readers.corpora import read_corpus
from edge_lupi.device.processor import environment
from edge_lupi.frames import Segmentation
from edge_lupi.models.dense_encoder import DENSE_SIZES
from edge_lupi.models.encoder import SIZES
from edge_lupi.models.files import TrainedStudent, load_student
from edge_lupi.models.front_end import cut, log_mel
from edge_lupi.models.rounding import convolutions, points
from edge_lupi.models.student import Student, StudentConfig
from edge_lupi.runtime.engines.onnx_runtime import OnnxEngine
from edge_lupi.sound.audio import read_audio
from edge_lupi.task import Task


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


@torch.no_grad()
def untrained(size: str, corpus: Path, split: str) -> TrainedStudent:
    """A student of this size with random weights, and the ranges that its numbers reach on speech."""
    torch.manual_seed(0)
    cut_into, task = Segmentation(1.0, 0.5), Task("speaker", "verification")
    student = Student(StudentConfig(size, "sequential", cut_into, (task,)))
    speech = torch.from_numpy(held_out_segments(corpus, split, cut_into, 50))
    student.encoder.train()(speech)  # batch norms take the means and deviations of speech
    ranges: dict[str, torch.Tensor] = {}
    for name, point in points(student.encoder.fold()):
        point.register_forward_hook(lambda _, __, out, name=name: ranges.update({name: out.abs().max()}))
    student.encoder(speech)
    for _, point in points(student.encoder):
        point._forward_hooks.clear()
    ranges |= {f"{n}.weight": conv.weight.abs().amax((1, 2, 3)) for n, conv in convolutions(student.encoder)}
    return TrainedStudent(student.eval(), ranges, torch.zeros(0, dtype=torch.int16), {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", type=Path, metavar="STUDENT.int8.pt|SIZE")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", required=True)
    parser.add_argument("--segments", type=int, default=200)
    parser.add_argument("--runs", type=int, default=400)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    is_trained = str(arguments.student) not in {**SIZES, **DENSE_SIZES}
    trained = (
        load_student(arguments.student)
        if is_trained
        else untrained(str(arguments.student), arguments.data, arguments.split)
    )
    segments = held_out_segments(
        arguments.data, arguments.split, trained.student.config.segmentation, arguments.segments
    )
    graphs = encoders(trained)
    written = {name: graph.SerializeToString() for name, graph in graphs.items()}
    engines = {name: OnnxEngine(graph, name=name) for name, graph in written.items()}
    share = int8_share(written["int8"])
    assert share is not None
    nodes = Counter(node.op_type for node in optimised_graph(written["int8"]).graph.node)
    answers = {
        name: np.concatenate([e.run({"log_mel": x[None]})["embedding"] for x in segments])
        for name, e in engines.items()
    }
    cosine = (answers["int8"] * answers["fp32"]).sum(1)
    cosine /= np.linalg.norm(answers["int8"], axis=1) * np.linalg.norm(answers["fp32"], axis=1)
    eager = trained.student.encoder.eval()
    runners: dict[str, Callable[[np.ndarray], object]] = {
        name: lambda x, e=e: e.run({"log_mel": x}) for name, e in engines.items()
    }
    with torch.inference_mode():
        runners["torch eager"] = lambda x: eager(torch.from_numpy(x))
        taken = paired_ms(runners, segments, arguments.runs)
    result = {
        "size": trained.student.config.size,
        "trained": is_trained,
        "p50_ms": {name: round(float(np.median(ms)), 3) for name, ms in taken.items()},
        "p99_ms": {name: round(float(np.percentile(ms, 99)), 3) for name, ms in taken.items()},
        "int8_times_as_fast_as": {
            name: round(float(np.median(ms / taken["int8"])), 2) for name, ms in taken.items() if name != "int8"
        },
        "runs": arguments.runs,
        "cosine_mean": round(float(cosine.mean()), 5) if is_trained else None,
        "cosine_worst": round(float(cosine.min()), 5) if is_trained else None,
        "segments": len(segments),
        "int8_layers": f"{share.layers} of {share.of_layers}",
        "int8_nodes": f"{share.nodes} of {share.of_nodes}",
        "nodes": dict(nodes),
        "environment": environment(),
    }
    for key, value in result.items():
        print(f"{key:<24}{value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
