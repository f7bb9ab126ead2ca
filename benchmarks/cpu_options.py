"""Which of ONNX Runtime's session options make a student's encoder faster on one thread of this processor?

python benchmarks/cpu_options.py STUDENT.int8.pt [--runs 400]

Every option is compared with what edge-lupi uses, run by run, in an order drawn anew each time; the ratio is the median
of the pairs' ratios with a 95 % bootstrap interval. `as it is, again` is the same options in another session: what lies
within its interval is noise. An option is worth taking where its whole interval lies above that one.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort

from edge_lupi.compile.student import encoders
from edge_lupi.device.processor import environment
from edge_lupi.frames import CONTEXT_SAMPLES, HOP_SAMPLES
from edge_lupi.metrics.bootstrap import bootstrap
from edge_lupi.models.files import TrainedStudent, load_student
from edge_lupi.runtime.front_end import FftFrontEnd
from edge_lupi.sound.audio import from_pcm

AS_IT_IS = "as it is"
WARM_UP = 20
Change = Callable[[ort.SessionOptions], object]


def level(name: str) -> Change:
    return lambda options: setattr(options, "graph_optimization_level", getattr(ort.GraphOptimizationLevel, name))


def entry(key: str, value: str) -> Change:
    return lambda options: options.add_session_config_entry(key, value)


CHANGES: dict[str, Change] = {
    AS_IT_IS: lambda options: None,
    "as it is, again": lambda options: None,
    "optimised: extended": level("ORT_ENABLE_EXTENDED"),
    "optimised: basic": level("ORT_ENABLE_BASIC"),
    "no spinning": entry("session.intra_op.allow_spinning", "0"),
    "no arena": lambda options: setattr(options, "enable_cpu_mem_arena", False),
    "no memory pattern": lambda options: setattr(options, "enable_mem_pattern", False),
    "no prepacking": entry("session.disable_prepacking", "1"),
    "denormals are zero": entry("session.set_denormal_as_zero", "1"),
    "AVX2 without saturation": entry("session.x64quantprecision", "1"),
}


def session(graph: bytes, change: Change) -> ort.InferenceSession:
    """As edge_lupi.runtime.engines.onnx_runtime makes it, and one change."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    change(options)
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def opened(graph: bytes) -> dict[str, ort.InferenceSession]:
    """One session a change; what ONNX Runtime refuses is left out."""
    sessions = {name: session_or_none(graph, name) for name in CHANGES}
    return {name: found for name, found in sessions.items() if found is not None}


def session_or_none(graph: bytes, name: str) -> ort.InferenceSession | None:
    try:
        return session(graph, CHANGES[name])
    except Exception as error:  # ONNX Runtime's own family
        print(f"{name} is refused: {str(error).splitlines()[0][:160]}")
        return None


def segments_of(trained: TrainedStudent) -> np.ndarray:
    """log-mel [S, 80, 1, F] of the speech that student.pt carries, one after the other."""
    frames = trained.student.config.segmentation.frames
    samples = np.concatenate([np.zeros(CONTEXT_SAMPLES, np.float32), from_pcm(trained.speech.numpy())])
    whole = FftFrontEnd()(samples[: CONTEXT_SAMPLES + (len(samples) - CONTEXT_SAMPLES) // HOP_SAMPLES * HOP_SAMPLES])
    count = whole.shape[1] // frames
    return np.ascontiguousarray(whole[:, : count * frames].reshape(80, count, frames).swapaxes(0, 1)[:, :, None])


def taken_ms(sessions: dict[str, ort.InferenceSession], segments: np.ndarray, runs: int) -> dict[str, np.ndarray]:
    """Milliseconds [runs] of every session on the same segment, in an order drawn anew each run."""
    draw, taken = np.random.default_rng(0), {name: np.zeros(runs) for name in sessions}
    names = list(sessions)
    for run in range(-WARM_UP, runs):
        inputs = {"log_mel": segments[run % len(segments)][None]}
        for name in draw.permutation(names):
            began = time.perf_counter()
            sessions[name].run(None, inputs)
            if run >= 0:
                taken[name][run] = 1e3 * (time.perf_counter() - began)
    return taken


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", type=Path)
    parser.add_argument("--runs", type=int, default=400)
    arguments = parser.parse_args()
    trained = load_student(arguments.student)
    segments, found = segments_of(trained), {}
    for precision, graph in encoders(trained).items():
        sessions = opened(graph.SerializeToString())
        taken = taken_ms(sessions, segments, arguments.runs)
        answers = {
            n: np.concatenate([s.run(None, {"log_mel": x[None]})[0] for x in segments]) for n, s in sessions.items()
        }
        found[precision] = {}
        print(f"{precision:<25}{'p50 ms':>8}{'p99 ms':>8}   times as fast (95 %)     worst cosine to {AS_IT_IS}")
        for name, ms in taken.items():
            ratios = taken[AS_IT_IS] / ms
            faster = bootstrap(lambda chosen, ratios=ratios: float(np.median(ratios[chosen])), n=len(ratios))
            found[precision][name] = {
                "p50_ms": round(float(np.median(ms)), 3),
                "p99_ms": round(float(np.percentile(ms, 99)), 3),
                "times_as_fast": [round(value, 3) for value in (faster.value, faster.low, faster.high)],
                "cosine_worst": round(cosine(answers[name], answers[AS_IT_IS]), 5),
            }
            p50, p99, (value, low, high), worst = found[precision][name].values()
            print(f"{name:<25}{p50:8.3f}{p99:8.3f}   {value:.3f} ({low:.3f} to {high:.3f})   {worst:.5f}")
    size = trained.student.config.size
    print(json.dumps({"size": size, "runs": arguments.runs, **found, "environment": environment()}))


if __name__ == "__main__":
    main()
