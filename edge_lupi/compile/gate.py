"""The gate: every precision beside the float student on real speech, its latency on this device, and the choice with a reason.

An int8 that is slower or further from the float student than allowed is not chosen.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lupi.runtime.accelerator import Engine
from edge_lupi.runtime.engine import OnnxEngine

__all__ = ["Choice", "Measured", "choose", "fastest", "measure", "measure_engines"]

Array = NDArray[np.float32]
MIN_COSINE_MEAN = 0.99
MIN_COSINE_WORST = 0.95
WARM_UP = 10
RUNS = 100


@dataclass(frozen=True)
class Measured:
    """One precision on this device: latency of one segment on one thread, size of the encoder, cosine to the float student."""

    p50_ms: float
    p99_ms: float
    bytes: int
    cosine_mean: float
    cosine_worst: float


@dataclass(frozen=True)
class Choice:
    """What was chosen among `precisions`, and why, in one sentence."""

    precisions: dict[str, Measured]
    chosen: str
    why: str

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "precisions": {name: asdict(found) for name, found in self.precisions.items()},
            "chosen": self.chosen,
            "why": self.why,
        }

    def table(self) -> str:
        """For people."""
        rows = [
            f"{name:<9} {found.p50_ms:8.2f} {found.p99_ms:8.2f} {found.bytes:8d} {found.cosine_mean:13.4f} "
            f"{found.cosine_worst:7.4f}{'   <- chosen' if name == self.chosen else ''}"
            for name, found in self.precisions.items()
        ]
        return "\n".join(["precision   p50 ms   p99 ms    bytes   cosine mean   worst", *rows])


def measure(graphs: Mapping[str, bytes], segments: Array, wanted: Array) -> dict[str, Measured]:
    """Run every precision's encoder graph on the CPU, see `measure_engines`."""
    engines = {name: OnnxEngine(graph, name=f"encoder ({name})") for name, graph in graphs.items()}
    return measure_engines(engines, {name: len(graph) for name, graph in graphs.items()}, segments, wanted)


def measure_engines(
    engines: Mapping[str, Engine], sizes: Mapping[str, int], segments: Array, wanted: Array
) -> dict[str, Measured]:
    """Run every precision's encoder on log-mel segments [S, 80, 1, F] whose float embeddings [S, D] are known.

    Latencies are taken in turn, run by run, so that a change of the machine's speed meets all alike.
    """
    taken: dict[str, list[float]] = {name: [] for name in engines}
    for run in range(WARM_UP + RUNS):
        segment = {"log_mel": segments[run % len(segments)][None]}
        for name, engine in engines.items():
            began = time.perf_counter()
            engine.run(segment)
            if run >= WARM_UP:
                taken[name].append(1e3 * (time.perf_counter() - began))
    found = {}
    for name, engine in engines.items():
        embeddings = np.concatenate([engine.run({"log_mel": segment[None]})["embedding"] for segment in segments])
        cosine = _cosines(embeddings, wanted)
        p50, p99 = np.percentile(taken[name], [50, 99])
        found[name] = Measured(float(p50), float(p99), sizes[name], float(cosine.mean()), float(cosine.min()))
    return found


def choose(found: Mapping[str, Measured], asked: str) -> Choice:
    """Take what was asked for, or for "auto" int8 where it is faster and close enough, else fp32."""
    precisions = dict(found)
    if asked != "auto":
        return Choice(precisions, asked, f"{asked} was asked for")
    if "int8" not in found:
        return Choice(
            precisions, "fp32", "the student has no quantisation ranges: fine-tune it with edge-lupi train qat for int8"
        )
    int8, fp32 = found["int8"], found["fp32"]
    if not _close(int8):
        why = f"int8 strays from the float student (cosine mean {int8.cosine_mean:.4f}, worst {int8.cosine_worst:.4f}; allowed {MIN_COSINE_MEAN}, {MIN_COSINE_WORST})"
        return Choice(precisions, "fp32", why)
    if int8.p50_ms >= fp32.p50_ms:
        return Choice(
            precisions,
            "fp32",
            f"int8 is not faster on this device ({int8.p50_ms:.2f} ms a segment against {fp32.p50_ms:.2f} ms)",
        )
    why = f"int8 is {fp32.p50_ms / int8.p50_ms:.2f} times as fast as fp32 here and keeps a cosine of {int8.cosine_mean:.4f} (worst {int8.cosine_worst:.4f}) to the float student"
    return Choice(precisions, "int8", why)


def fastest(found: Mapping[str, Measured], asked: str) -> Choice:
    """Take what was asked for, or for "auto" the fastest that is close enough to the float student; fp32 if none is."""
    precisions = dict(found)
    if asked != "auto":
        return Choice(precisions, asked, f"{asked} was asked for")
    close = {name: one for name, one in found.items() if _close(one)}
    strayed = [name for name in found if name not in close]
    said = f"; {', '.join(strayed)} strays from the float student" if strayed else ""
    if not close:
        return Choice(precisions, "fp32", f"nothing is close enough to the float student{said}")
    chosen = min(close, key=lambda name: close[name].p50_ms)
    return Choice(precisions, chosen, f"{chosen} is the fastest on this GPU that is close enough{said}")


def _close(found: Measured) -> bool:
    return found.cosine_mean >= MIN_COSINE_MEAN and found.cosine_worst >= MIN_COSINE_WORST  # NaN strays, too


def _cosines(a: Array, b: Array) -> NDArray[np.float64]:
    product = (a * b).sum(1)
    return np.asarray(product / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1) + 1e-12), np.float64)
