"""Measurement of encoders on this device: engines and log-mel segments -> latency and cosines of each, and what a stream meets."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_lupi.compile.findings import CPU, LIVE_BATCH, Findings, Measured
from edge_lupi.compile.timing import Times, speedup, take_turns, taken
from edge_lupi.runtime.engines.engine import Engine

__all__ = ["measure", "measure_live"]

Array = NDArray[np.float32]
PACED_TURNS = 10
PAUSE_SECONDS = 0.5  # the usual hop, after which a Jetson's GPU has gone to sleep
BATCH_TURNS = 20


def measure(engines: Mapping[str, Engine], sizes: Mapping[str, int], segments: Array, wanted: Array) -> Findings:
    """Run every precision's encoder on log-mel segments [S, 80, 1, F] whose float embeddings [S, D] are known.

    Speeds are told beside the CPU's own encoder where it is among them, else beside fp32.
    """
    times = take_turns(engines, segments)
    reference = CPU if CPU in engines else "fp32"
    on_cpu = [times[CPU]] if CPU in engines else list(times.values())
    precisions = {}
    for name, engine in engines.items():
        embeddings = np.concatenate([engine.run({"log_mel": segment[None]})["embedding"] for segment in segments])
        cosine, own = _cosines(embeddings, wanted), times[name]
        p50, p99 = map(float, np.percentile(own.wall_ms, [50, 99]))
        ratio = speedup(times[reference].wall_ms, own.wall_ms) if name != reference and reference in times else None
        precisions[name] = Measured(
            p50, p99, sizes[name], float(cosine.mean()), float(cosine.min()),
            thread_ms=float(np.median(own.thread_ms)), speedup=ratio,
        )  # fmt: skip
    return Findings(precisions, len(segments), waited=_waited(on_cpu))


def _waited(on_cpu: list[Times]) -> float:
    """The share of the time that others had the processor."""
    wall = sum(float(times.wall_ms.sum()) for times in on_cpu)
    return max(0.0, 1 - sum(float(times.thread_ms.sum()) for times in on_cpu) / wall)


def measure_live(
    engines: Mapping[str, Engine], findings: Findings, segments: Array, wanted: Array, *, paced: bool
) -> Findings:
    """The same encoders as a stream runs them: as many segments at once as an engine takes, and where `paced` the quickest
    engine and the CPU after a pause.

    A batch's embeddings count, too: an engine may be right on single segments alone.
    """
    batch = max(
        (size for engine in engines.values() if isinstance(size := engine.input_shapes["log_mel"][0], int)), default=1
    )
    many, of_many = np.resize(segments, (batch, *segments.shape[1:])), np.resize(wanted, (batch, wanted.shape[1]))
    quickest = min((name for name in engines if name != CPU), key=lambda name: findings.precisions[name].p50_ms)
    slept = (
        _by_turns({name: engines[name] for name in (CPU, quickest)}, segments[:1], PACED_TURNS, PAUSE_SECONDS)
        if paced
        else {}
    )
    at_once = _by_turns(engines, many, BATCH_TURNS)
    deciding = at_once if batch > LIVE_BATCH else slept
    precisions = {}
    for name, engine in engines.items():
        one = findings.precisions[name]
        cosine = float(_cosines(engine.run({"log_mel": many})["embedding"], of_many).min())
        precisions[name] = replace(
            one,
            cosine_worst=min(cosine, one.cosine_worst),
            paced_ms=float(np.median(slept[name])) if name in slept else None,
            batch_ms=float(np.median(at_once[name])),
            speedup=speedup(deciding[CPU], deciding[name]) if name in deciding and name != CPU else one.speedup,
        )
    return replace(findings, precisions=precisions, batch=batch)


def _by_turns(
    engines: Mapping[str, Engine], segments: Array, turns: int, pause_seconds: float = 0.0
) -> dict[str, NDArray[np.float64]]:
    """Milliseconds on the wall's clock of every engine's runs on these segments, in turn, a pause before each."""
    rows: dict[str, list[float]] = {name: [] for name in engines}
    for engine in engines.values():
        engine.run({"log_mel": segments})
    for _ in range(turns):
        for name, engine in engines.items():
            time.sleep(pause_seconds)
            rows[name].append(taken(engine, segments)[0])
    return {name: np.array(row) for name, row in rows.items()}


def _cosines(a: Array, b: Array) -> NDArray[np.float64]:
    product = (a * b).sum(1)
    return np.asarray(product / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1) + 1e-12), np.float64)
