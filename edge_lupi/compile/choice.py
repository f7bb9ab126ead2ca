"""The gate: every precision beside the float student on real speech, its latency on this device, and the choice with a reason.

An int8 that is slower than fp32, further from the float student than allowed, or worse at its task is not chosen; nor is
a GPU that is slower than the CPU.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lupi.errors import InputError
from edge_lupi.runtime.engines.engine import Engine

__all__ = [
    "CPU",
    "Choice",
    "Findings",
    "Int8Share",
    "Limits",
    "Measured",
    "Metric",
    "choose",
    "fastest",
    "measure",
    "measure_live",
]

Array = NDArray[np.float32]
WARM_UP = 10
RUNS = 100
PACED_RUNS = 5
PAUSE_SECONDS = 0.5  # the usual hop, after which a Jetson's GPU has gone to sleep
LIVE_BATCH = 16  # up to which the segments of a live stream decide, which come one by one
CPU = "CPU"  # what stands beside engines: the bundle's own encoder on ONNX Runtime
ROUNDING = 1e-9  # of differences of fractions


@dataclass(frozen=True)
class Limits:
    """How far from the float student a precision may be and still be chosen: cosines, and loss in the task's metric.

    `max_drop` is a fraction: 0.005 is half a point of EER or UAR.
    """

    max_drop: float = 0.005
    cosine_mean: float = 0.99
    cosine_worst: float = 0.95

    def __post_init__(self) -> None:
        if not 0 <= self.max_drop <= 1:
            raise InputError(f"expected --max-drop from 0 to 1 (0.005 is half a point), got {self.max_drop}")


@dataclass(frozen=True)
class Metric:
    """The task's own measure, eer or uar, what the float student reaches, and on what."""

    name: str
    float_student: float
    measured_on: str

    def loss(self, value: float) -> float:
        """By how much a value is worse than the float student's; negative where it is better."""
        return value - self.float_student if self.name == "eer" else self.float_student - value


@dataclass(frozen=True)
class Int8Share:
    """The graph as its runtime really runs it: layers (convolutions, matrix products) and nodes, and those in 8 bits."""

    layers: int
    of_layers: int
    nodes: int
    of_nodes: int


@dataclass(frozen=True)
class Measured:
    """One precision on this device: latency of one segment on one thread, size of the encoder, cosine to the float student.

    `metric` is its EER or UAR where labelled speech was given; `int8` is counted where the runtime shows its graph. Beside
    engines: `paced_ms` of a segment that comes half a second after the last, `batch_ms` of the largest batch at once.
    """

    p50_ms: float
    p99_ms: float
    bytes: int
    cosine_mean: float
    cosine_worst: float
    metric: float | None = None
    int8: Int8Share | None = None
    paced_ms: float | None = None
    batch_ms: float | None = None


@dataclass(frozen=True)
class Findings:
    """Every precision measured, on so many segments; `metric` where labelled speech was given; `batch` where a GPU was."""

    precisions: Mapping[str, Measured]
    segments: int = 0
    metric: Metric | None = None
    batch: int = 1

    def by_itself_ms(self, name: str) -> float:
        """What decides between precisions of one GPU: one segment; for many streams, the largest batch."""
        one = self.precisions[name]
        return one.batch_ms if self.batch > LIVE_BATCH and one.batch_ms is not None else one.p50_ms

    def beside_ms(self, name: str, other: str) -> float:
        """What decides between GPU and CPU: the same, but one segment that comes paced where both were measured so."""
        paced = self.precisions[name].paced_ms
        if self.batch > LIVE_BATCH or paced is None or self.precisions[other].paced_ms is None:
            return self.by_itself_ms(name)
        return paced


@dataclass(frozen=True)
class Choice:
    """What was chosen of what was found, and why, in one sentence."""

    found: Findings
    chosen: str
    why: str

    @property
    def precisions(self) -> Mapping[str, Measured]:
        """What was chosen among."""
        return self.found.precisions

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        found = self.found
        return {
            "precisions": {name: asdict(one) for name, one in found.precisions.items()},
            "chosen": self.chosen,
            "why": self.why,
            "metric": asdict(found.metric) if found.metric else None,
            "segments": found.segments,
        }

    def table(self) -> str:
        """For people."""
        found = self.found
        metric = f"{found.metric.name.upper()} %" if found.metric else ""
        rows = [_row(self.found, name) for name in found.precisions]
        heads = ["precision", "p50 ms", "p99 ms", "paced ms", f"{found.batch} at once", "bytes", "cosine mean", "worst"]
        heads += [metric, "int8 layers", "int8 nodes"]
        shown = [index for index in range(len(heads)) if any(row[index] for row in rows)]
        widths = [max(len(line[index]) for line in (heads, *rows)) for index in range(len(heads))]
        lines = ["  ".join(f"{line[i]:{'<' if i == 0 else '>'}{widths[i]}}" for i in shown) for line in (heads, *rows)]
        marks = ["", *("   <- chosen" if name == self.chosen else "" for name in found.precisions)]
        on = f"cosines to the float student on {found.segments} segments"
        on += f", {found.metric.name.upper()} on {found.metric.measured_on}" if found.metric else ""
        return "\n".join([*map("".join, zip(lines, marks, strict=True)), on])


def _row(found: Findings, name: str) -> list[str]:
    one = found.precisions[name]
    cells = [name, f"{one.p50_ms:.2f}", f"{one.p99_ms:.2f}"]
    cells += ["" if ms is None else f"{ms:.2f}" for ms in (one.paced_ms, one.batch_ms)]
    cells += [str(one.bytes)]
    cells += [
        f"{one.cosine_mean:.4f}",
        f"{one.cosine_worst:.4f}",
        "" if one.metric is None else f"{100 * one.metric:.2f}",
    ]
    return cells + (
        [f"{one.int8.layers} of {one.int8.of_layers}", f"{one.int8.nodes} of {one.int8.of_nodes}"]
        if one.int8
        else ["", ""]
    )


def measure(
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


def choose(found: Findings, asked: str, limits: Limits | None = None) -> Choice:
    """Take what was asked for, or for "auto" int8 where it is faster and as good as the float student, else fp32."""
    if asked != "auto":
        return _as_asked(found, asked, limits)
    if "int8" not in found.precisions:
        why = "the student has no quantisation ranges: fine-tune it with edge-lupi train qat for int8"
        return Choice(found, "fp32", why)
    int8, fp32 = found.precisions["int8"], found.precisions["fp32"]
    if fault := _fault(found, "int8", limits):
        return Choice(found, "fp32", fault)
    if int8.p50_ms >= fp32.p50_ms:
        times = f"{int8.p50_ms:.2f} ms a segment against {fp32.p50_ms:.2f} ms"
        return Choice(found, "fp32", f"int8 is not faster on this device ({times})")
    why = (
        f"int8 is {fp32.p50_ms / int8.p50_ms:.2f} times as fast as fp32 here and keeps a cosine of "
        f"{int8.cosine_mean:.4f} (worst {int8.cosine_worst:.4f}) to the float student"
    )
    return Choice(found, "int8", why + (f", {told}" if (told := _told(found, "int8")) else ""))


def measure_live(
    engines: Mapping[str, Engine], found: Findings, segments: Array, wanted: Array, *, paced: bool
) -> Findings:
    """The same encoders as a stream runs them: as many segments at once as an engine takes, and where `paced` the quickest
    engine and the CPU after a pause.

    A batch's embeddings count, too: an engine may be right on single segments alone.
    """
    batch = max(
        (size for engine in engines.values() if isinstance(size := engine.input_shapes["log_mel"][0], int)), default=1
    )
    many, of_many = np.resize(segments, (batch, *segments.shape[1:])), np.resize(wanted, (batch, wanted.shape[1]))
    quickest = min((name for name in engines if name != CPU), key=lambda name: found.precisions[name].p50_ms)
    known = {}
    for name, engine in engines.items():
        slept = _paced_ms(engine, segments[:1]) if paced and name in (CPU, quickest) else None
        answers = [engine.run({"log_mel": many})["embedding"] for _ in range(WARM_UP)]
        at_once = float(np.median([_ms(engine, many) for _ in range(WARM_UP)]))
        worst = min(float(_cosines(answers[-1], of_many).min()), found.precisions[name].cosine_worst)
        known[name] = replace(found.precisions[name], paced_ms=slept, batch_ms=at_once, cosine_worst=worst)
    return replace(found, precisions=known, batch=batch)


def _paced_ms(engine: Engine, segment: Array) -> float:
    taken = []
    for _ in range(PACED_RUNS):
        time.sleep(PAUSE_SECONDS)
        taken.append(_ms(engine, segment))
    return float(np.median(taken))


def _ms(engine: Engine, segments: Array) -> float:
    began = time.perf_counter()
    engine.run({"log_mel": segments})
    return 1e3 * (time.perf_counter() - began)


def fastest(found: Findings, asked: str, limits: Limits | None = None) -> Choice:
    """Take what was asked for, or for "auto" the fastest that is as good as the float student, the CPU where no GPU is."""
    if asked != "auto":
        return _as_asked(found, asked, limits)
    faults = {name: _fault(found, name, limits) for name in found.precisions if name != CPU}
    said = "".join(f"; {fault}" for fault in faults.values() if fault)
    if found.metric is None:
        said += (
            f"; provisional, on {found.segments} segments that came with the bundle: --data CORPUS judges by the task"
        )
    close = [name for name, fault in faults.items() if not fault]
    if not close:
        return Choice(
            found, CPU if CPU in found.precisions else "fp32", f"nothing is close enough to the float student{said}"
        )
    chosen = min(close, key=found.by_itself_ms)
    if CPU in found.precisions and found.beside_ms(CPU, chosen) <= found.beside_ms(chosen, CPU):
        how = f"for {found.batch} segments at once" if found.batch > LIVE_BATCH else "a segment"
        times = f"{found.beside_ms(CPU, chosen):.2f} ms {how} against {found.beside_ms(chosen, CPU):.2f} ms of {chosen} on the GPU"
        return Choice(found, CPU, f"the CPU is as fast here ({times}){said}")
    return Choice(found, chosen, f"{chosen} is the fastest on this GPU that is close enough{said}")


def _as_asked(found: Findings, asked: str, limits: Limits | None) -> Choice:
    fault = _fault(found, asked, limits)
    return Choice(found, asked, f"{asked} was asked for" + (f", although {fault}" if fault else ""))


def _fault(found: Findings, name: str, limits: Limits | None) -> str:
    """Why a precision is not as good as the float student; empty where it is."""
    one, allowed = found.precisions[name], limits or Limits()
    if not (one.cosine_mean >= allowed.cosine_mean and one.cosine_worst >= allowed.cosine_worst):  # NaN strays, too
        return (
            f"{name} strays from the float student (cosine mean {one.cosine_mean:.4f}, worst {one.cosine_worst:.4f}; "
            f"allowed {allowed.cosine_mean}, {allowed.cosine_worst})"
        )
    if found.metric is None or one.metric is None:
        return ""
    loss = found.metric.loss(one.metric)
    if loss <= allowed.max_drop + ROUNDING:
        return ""
    return (
        f"{name} loses {100 * loss:.2f} points of {found.metric.name.upper()} against the float student "
        f"({_told(found, name)}; allowed {100 * allowed.max_drop:g})"
    )


def _told(found: Findings, name: str) -> str:
    """A precision's metric beside the float student's; empty where there is none."""
    value = found.precisions[name].metric
    if found.metric is None or value is None:
        return ""
    return f"{found.metric.name.upper()} {100 * value:.2f} % against {100 * found.metric.float_student:.2f} %"


def _cosines(a: Array, b: Array) -> NDArray[np.float64]:
    product = (a * b).sum(1)
    return np.asarray(product / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1) + 1e-12), np.float64)
