"""Cold start: from the start of a process to its first event, with the real command line. A bundle in, a ColdReport out.

A child process runs `edge-lupi listen --input -` on a golden sound of the bundle, as fast as it can take it. Its files are in the
system's cache from the second run on; the sound that an event is about is not waited for, which a microphone adds.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.device.bench.percentiles import Percentiles
from edge_lupi.errors import DeviceError
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.runtime.engines.golden import read_golden
from edge_lupi.words import printable

__all__ = ["ColdReport", "cold_start"]

RUNS = 7  # p50 needs six
SOUND_SECONDS = 10


@dataclass(frozen=True)
class ColdReport:
    """Milliseconds from process start to first event: of each run, and their percentiles."""

    times_ms: list[float]
    times: Percentiles

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**self.times.plain(), "times_ms": self.times_ms}

    def text(self) -> str:
        """For people."""
        said = "" if self.times.p50_ms is None else f"p50 {self.times.p50_ms:.0f} ms, "
        return (
            f"first event {said}fastest {min(self.times_ms):.0f}, slowest {max(self.times_ms):.0f} ms after the process began, "
            f"{len(self.times_ms)} runs"
        )


def cold_start(bundles: Sequence[Bundle], tasks: Sequence[str], *, gate: str = "voice", runs: int = RUNS) -> ColdReport:
    """Start so many processes, one after the other. Raises DeviceError where one says nothing."""
    sound = np.resize(read_golden(bundles[0], list(bundles[0].tasks.values())).samples, SOUND_SECONDS * SAMPLE_RATE_HZ)
    paths = [str(bundle.path) for bundle in bundles]
    command = [sys.executable, "-m", "edge_lupi", "listen", *paths, "--task", ",".join(tasks), "--gate", gate]
    times_ms = [_first_event_ms([*command, "--input", "-", "--json"], sound.tobytes()) for _ in range(runs)]
    return ColdReport(times_ms, Percentiles.of(np.array(times_ms)))


def _first_event_ms(command: Sequence[str], sound: bytes) -> float:
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stderr:
        stdin.write(sound)
        stdin.seek(0)
        began = time.perf_counter()
        with subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr) as child:
            assert child.stdout is not None
            first = child.stdout.readline()
            taken_ms = 1000 * (time.perf_counter() - began)
            child.kill()
        if not first:
            stderr.seek(0)
            said = printable(stderr.read(2000).decode("utf-8", "replace").strip().split("\n")[-1])
            raise DeviceError(f"expected an event from edge-lupi listen, got none ({said[:200]}): run edge-lupi doctor")
    return taken_ms
