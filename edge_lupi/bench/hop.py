"""Time per hop of a bundle on this device, as a stream runs it: front end, speech gate, encoder, aggregator, one thread.

Deterministic noise drives it, loud enough that the gate looks at all of it: no graph here branches on what it hears, so
speech takes as long. Silence costs the front end alone.
"""

from __future__ import annotations

import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from edge_lupi import __version__
from edge_lupi.bundle import Bundle
from edge_lupi.frames import CONTEXT_SAMPLES, HOP_SAMPLES
from edge_lupi.runtime.silero import make_gate
from edge_lupi.runtime.student import CompiledStudent

__all__ = ["HopReport", "Spread", "environment", "measure"]

PARTS = ("front_end", "gate", "encoder", "aggregator", "hop")
WARM_UP_HOPS = 20


@dataclass(frozen=True)
class Spread:
    """Percentiles of a time in milliseconds."""

    p50_ms: float
    p90_ms: float
    p99_ms: float


@dataclass(frozen=True)
class HopReport:
    """`parts` by name (`hop` is their sum); `real_time_factor` is time spent per time heard."""

    bundle: str
    hops: int
    hop_seconds: float
    parts: dict[str, Spread]
    real_time_factor: float
    environment: dict[str, Any]

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    def text(self) -> str:
        """A table for people."""
        rows = [f"{name:<11}{s.p50_ms:9.3f}{s.p90_ms:9.3f}{s.p99_ms:9.3f}" for name, s in self.parts.items()]
        where = "  ".join(f"{key} {value}" for key, value in self.environment.items())
        head = f"{self.bundle}: {self.hops} hops of {self.hop_seconds} s on one thread"
        factor = f"real-time factor {self.real_time_factor:.5f}: one thread could follow {1 / self.real_time_factor:.0f} streams"
        return "\n".join([head, f"{'ms':<11}{'p50':>9}{'p90':>9}{'p99':>9}", *rows, factor, where])


def measure(bundle: Bundle, task: str | None, seconds: float) -> HopReport:
    """Push `seconds` of sound through the bundle, hop by hop, as fast as it goes."""
    student = CompiledStudent(bundle, task)
    cut = student.segmentation
    hops = max(1, round(seconds / cut.hop_seconds))
    random = np.random.default_rng(0)
    frames = np.zeros((80, cut.frames), np.float32)
    state, gate = student.initial_state(), make_gate()
    taken = np.zeros((hops, len(PARTS) - 1))
    for hop in range(-WARM_UP_HOPS, hops):
        samples = (random.standard_normal(CONTEXT_SAMPLES + cut.hop_frames * HOP_SAMPLES) * 0.05).astype(np.float32)
        t0 = time.perf_counter()
        fresh = student.log_mel(samples)
        frames = np.concatenate([frames[:, cut.hop_frames :], fresh], axis=1)
        t1 = time.perf_counter()
        gate.push(fresh, samples[CONTEXT_SAMPLES:])
        t2 = time.perf_counter()
        embedding = student.encode(frames[None, :, None])
        t3 = time.perf_counter()
        state = student.step(embedding, state).state
        if hop >= 0:
            taken[hop] = t1 - t0, t2 - t1, t3 - t2, time.perf_counter() - t3
    columns = np.column_stack([taken, taken.sum(1)]) * 1e3
    parts = {
        name: Spread(*(float(p) for p in np.percentile(columns[:, i], [50, 90, 99]))) for i, name in enumerate(PARTS)
    }
    return HopReport(
        bundle.path.name,
        hops,
        cut.hop_seconds,
        parts,
        float(taken.sum() / (hops * cut.hop_seconds)),
        environment() | {"runs_on": student.runs_on},
    )


def environment() -> dict[str, Any]:
    """What the figures depend on, besides the bundle."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": 1,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
        "edge_lupi": __version__,
    }


def _cpu() -> str:
    """The processor's name, with the 8-bit instructions that int8 speed hangs on."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or "unknown"
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in lines.items()}
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    special = [name for name in ("avx512_vnni", "avx_vnni", "avx2", "asimddp", "i8mm") if name in flags]
    return f"{fields.get('model name', platform.processor() or 'unknown')} ({', '.join(special) or 'no 8-bit dot product'})"
