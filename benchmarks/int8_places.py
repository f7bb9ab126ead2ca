"""How near is the int8 encoder to what the processor can multiply, with and without `several_places`? By size, paired, one thread.

python benchmarks/int8_places.py [--sizes nano,mini,small,base] [--seconds 1.0] [--limit GMAC] [--runs 300] [--out FILE.md]

Untrained weights; the answers of both writings are compared bit by bit. `--limit` is what one core reaches in int8 products
(vpdpbusd, twelve sums in registers), for the share; the fastest tenth of the runs counts, as others only make one slower.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import onnx
import torch

from edge_lupi.compile.graphs.export import encoder_graph
from edge_lupi.compile.graphs.places import several_places
from edge_lupi.compile.graphs.quantised import signed_int8, unsigned_int8
from edge_lupi.device.processor import environment
from edge_lupi.frames import Segmentation
from edge_lupi.models.rounding import convolutions, points
from edge_lupi.models.student import Student, StudentConfig
from edge_lupi.runtime.engines.onnx_runtime import OnnxEngine
from edge_lupi.task import Task


def untrained(size: str, seconds: float) -> onnx.ModelProto:
    """The int8 encoder of a size with random weights, its first convolution one place at a time."""
    torch.manual_seed(0)
    cut = Segmentation(seconds, min(0.5, seconds))
    student = Student(StudentConfig(size, "sequential", cut, (Task("speaker", "verification"),)))
    ranges = {name: torch.tensor(8.0) for name, _ in points(student.encoder.fold())}
    ranges |= {f"{n}.weight": conv.weight.detach().abs().amax((1, 2, 3)) for n, conv in convolutions(student.encoder)}
    return unsigned_int8(signed_int8(encoder_graph(student, ranges)))


def products(model: onnx.ModelProto) -> int:
    """Multiplications of all convolutions, for one segment."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    items = [*inferred.value_info, *inferred.initializer]
    shape = {
        i.name: list(i.dims) if hasattr(i, "dims") else [d.dim_value for d in i.type.tensor_type.shape.dim]
        for i in items
    }
    convs = [node for node in model.graph.node if node.op_type == "Conv"]
    return sum(math.prod(shape[conv.output[0]][1:]) * math.prod(shape[conv.input[1]][1:]) for conv in convs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="nano,mini,small,base")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--limit", type=float, default=234.0)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    rows = [
        "| size | million products | before, ms | after, ms | ratio of pairs | GMAC/s before, after | share of the limit |"
    ]
    rows.append("|---|---|---|---|---|---|---|")
    found = {}
    for size in arguments.sizes.split(","):
        plain = untrained(size, arguments.seconds)
        engines = [OnnxEngine(model.SerializeToString()) for model in (plain, several_places(plain))]
        log_mel = np.random.default_rng(0).normal(-6, 3, (1, 80, 1, round(arguments.seconds * 100))).astype(np.float32)
        answers = [engine.run({"log_mel": log_mel})["embedding"] for engine in engines]
        assert np.array_equal(*answers), size
        taken = np.zeros((arguments.runs, 2))
        for run in range(arguments.runs):
            for place in (0, 1) if run % 2 else (1, 0):
                began = time.thread_time()
                engines[place].run({"log_mel": log_mel})
                taken[run, place] = 1e3 * (time.thread_time() - began)
        before, after = np.percentile(taken, 10, axis=0).tolist()
        ratio, work = float(np.median(taken[:, 1] / taken[:, 0])), products(plain)
        speeds = [work / ms / 1e6 for ms in (before, after)]
        shares = ", ".join(f"{speed / arguments.limit:.0%}" for speed in speeds)
        found[size] = {"products": work, "before_ms": before, "after_ms": after, "ratio": ratio, "gmac_per_s": speeds}
        rows.append(
            f"| {size} | {work / 1e6:.1f} | {before:.3f} | {after:.3f} | {ratio:.3f} | {speeds[0]:.0f}, {speeds[1]:.0f} | {shares} |"
        )
        print(rows[-1], flush=True)
    if arguments.out:
        command = f"`python benchmarks/int8_places.py --seconds {arguments.seconds} --limit {arguments.limit:g}`"
        head = [
            "# The first int8 convolution for several places at once",
            "",
            f"{command}; {json.dumps(environment())}",
            "",
        ]
        arguments.out.write_text("\n".join([*head, *rows, ""]))
    print(json.dumps({"limit": arguments.limit, **found, "environment": environment()}))


if __name__ == "__main__":
    main()
