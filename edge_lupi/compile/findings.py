"""What was measured of every precision: latency, size, cosines to the float student, the task's metric; and its table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_lupi.metrics.bootstrap import Interval

__all__ = ["CPU", "Findings", "Int8Share", "Loss", "Measured", "Metric"]

LIVE_BATCH = 16  # up to which the segments of a live stream decide, which come one by one
CPU = "CPU"  # what stands beside engines: the bundle's own encoder on ONNX Runtime
BUSY = 0.1  # of the time on the wall that went to others, above which that is said


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
class Loss:
    """By how much a metric is worse than the float student's on the same items, as a fraction with its 95 % interval.

    Of utterances: how many were right before and are now wrong (`lost`), and the other way round (`won`).
    """

    value: float
    low: float
    high: float
    lost: int | None = None
    won: int | None = None


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

    `thread_ms`: the processor's time on this thread, by the median. `speedup`: how many times as fast it is as fp32, or beside
    engines as the CPU, turn by turn. `metric` is its EER or UAR where labelled speech was given, `loss` by how much that is
    worse; `int8` is counted where the runtime shows its graph. Beside engines: `paced_ms` of a segment that comes half a
    second after the last, `batch_ms` of the largest batch at once.
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
    thread_ms: float | None = None
    speedup: Interval | None = None
    loss: Loss | None = None


@dataclass(frozen=True)
class Findings:
    """Every precision measured, on so many segments; `metric` where labelled speech was given; `batch` where a GPU was.

    `waited`: the share of the time in which an encoder on the CPU should have run and others had the processor.
    """

    precisions: Mapping[str, Measured]
    segments: int = 0
    metric: Metric | None = None
    batch: int = 1
    waited: float = 0.0

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

    def speedup(self, name: str, reference: str) -> Interval:
        """How many times as fast a precision is as the reference; of medians alone, an interval without width."""
        ratio = self.beside_ms(reference, name) / max(self.beside_ms(name, reference), 1e-9)
        return self.precisions[name].speedup or Interval(ratio, ratio, ratio)

    def loss(self, name: str) -> Loss | None:
        """By how much a precision is worse at the task; None where that is not known."""
        one = self.precisions[name]
        if self.metric is None or one.metric is None:
            return None
        value = self.metric.loss(one.metric)
        return one.loss or Loss(value, value, value)

    @property
    def busy(self) -> str:
        """That others had the processor, so that latencies are worth little; empty where they had not."""
        if self.waited <= BUSY:
            return ""
        return (
            f"the machine is busy: {100 * self.waited:.0f} % of the time went to others, compile again when it is idle"
        )

    def table(self, chosen: str) -> str:
        """For people."""
        rows = [self._row(name) for name in self.precisions]
        heads = [head for head in rows[0] if any(row[head] for row in rows)]
        lines = [heads, *([row[head] for head in heads] for row in rows)]
        widths = [max(len(line[index]) for line in lines) for index in range(len(heads))]
        marks = ["", *("   <- chosen" if name == chosen else "" for name in self.precisions)]
        shown = ["  ".join(_aligned(line, widths)) + mark for line, mark in zip(lines, marks, strict=True)]
        on = f"cosines to the float student on {self.segments} segments"
        on += f", {self.metric.name.upper()} on {self.metric.measured_on}" if self.metric else ""
        return "\n".join([*shown, on, *([self.busy] if self.busy else [])])

    def _row(self, name: str) -> dict[str, str]:
        """The cells of a precision by the heads of their columns; empty where a figure is not known."""
        one, metric = self.precisions[name], self.metric.name.upper() if self.metric else "metric"
        fast, share = one.speedup, one.int8
        return {
            "precision": name,
            "p50 ms": f"{one.p50_ms:.2f}",
            "p99 ms": f"{one.p99_ms:.2f}",
            "thread ms": _figure(one.thread_ms),
            "paced ms": _figure(one.paced_ms),
            f"{self.batch} at once": _figure(one.batch_ms),
            "times as fast": f"{fast.value:.2f} ({fast.low:.2f}-{fast.high:.2f})" if fast else "",
            "bytes": str(one.bytes),
            "cosine mean": f"{one.cosine_mean:.4f}",
            "worst": f"{one.cosine_worst:.4f}",
            f"{metric} %": "" if one.metric is None else f"{100 * one.metric:.2f}",
            "int8 layers": f"{share.layers} of {share.of_layers}" if share else "",
            "int8 nodes": f"{share.nodes} of {share.of_nodes}" if share else "",
        }


def _figure(ms: float | None) -> str:
    return "" if ms is None else f"{ms:.2f}"


def _aligned(line: list[str], widths: list[int]) -> list[str]:
    return [
        f"{cell:{'>' if index else '<'}{width}}" for index, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
