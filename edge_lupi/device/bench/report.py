"""Everything that a run of `bench` found: which modes and bundles in, a Report out, as a table for people or as JSON.

JSON has the figures of hops (`parts`, `listener`, ...) at the top, `paced`, `streams` and `cold` beside them where they were
asked for, and `environment`, which they all depend on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.device.bench.cold import ColdReport, cold_start
from edge_lupi.device.bench.feed import noise
from edge_lupi.device.bench.hops import HopReport, measure
from edge_lupi.device.bench.streams import StreamsReport, streams_in_time
from edge_lupi.device.bench.timed import OpenGate
from edge_lupi.device.processor import environment
from edge_lupi.device.state import state
from edge_lupi.errors import InputError
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.runtime.gates.make import make_gate
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.sound.audio import read_audio
from edge_lupi.words import printable

__all__ = ["Asked", "Report", "bench"]

MODES = ("burst", "paced", "streams", "cold", "all")
SECONDS = {"burst": 200.0, "paced": 60.0, "streams": 8.0}  # 200 s are 400 hops of half a second, which carry a p99


@dataclass(frozen=True, eq=False)
class Asked:
    """What to measure. `seconds` of sound (of each trial in streams), where not as usual; `sound` is a file in place of noise."""

    bundles: Sequence[Bundle]
    tasks: Sequence[str]
    mode: str = "burst"
    seconds: float | None = None
    sound: Path | None = None
    gate: str = "voice"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InputError(f"expected a mode of {', '.join(MODES)}, got {printable(self.mode)[:40]!r}")

    def has(self, mode: str) -> bool:
        """Whether this mode is one of those that were asked for."""
        return self.mode in (mode, "all")

    def seconds_of(self, mode: str) -> float:
        """As asked for; of all modes together, each as usual."""
        return SECONDS[mode] if self.seconds is None else self.seconds


@dataclass(frozen=True)
class Report:
    """What was found, by mode; None where that was not asked for."""

    bundle: str
    mode: str
    environment: dict[str, Any]
    burst: HopReport | None = None
    paced: HopReport | None = None
    streams: StreamsReport | None = None
    cold: ColdReport | None = None

    @property
    def hops(self) -> HopReport | None:
        """Those in a burst, or those at a microphone's pace where these alone were asked for."""
        return self.burst or self.paced

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        others = {
            "paced": self.paced if self.burst else None,
            "streams": self.streams,
            "cold": self.cold,
        }
        return {
            "bundle": self.bundle,
            **(self.hops.plain() if self.hops else {}),
            "mode": self.mode,
            **{name: found.plain() for name, found in others.items() if found},
            "environment": self.environment,
        }

    def text(self) -> str:
        """For people."""
        found = [part.text() for part in (self.burst, self.paced, self.streams, self.cold) if part]
        where = "  ".join(f"{key} {_words(value)}" for key, value in self.environment.items() if value is not None)
        return "\n\n".join([*found, where])


def bench(asked: Asked) -> Report:
    """Measure one mode after the other."""
    before = state()
    burst, paced = (
        measure(
            asked.bundles,
            asked.tasks,
            asked.seconds_of(mode),
            paced=mode == "paced",
            sound=asked.sound,
            gate=asked.gate,
        )
        if asked.has(mode)
        else None
        for mode in ("burst", "paced")
    )
    streams = _streams(asked, burst) if asked.has("streams") else None
    cold = cold_start(asked.bundles, asked.tasks, gate=asked.gate) if asked.has("cold") else None
    hops = burst or paced
    return Report(
        " + ".join(bundle.path.name for bundle in asked.bundles),
        asked.mode,
        environment() | before | {"date": time.strftime("%Y-%m-%d")} | ({"runs_on": hops.runs_on} if hops else {}),
        burst,
        paced,
        streams,
        cold,
    )


def _streams(asked: Asked, burst: HopReport | None) -> StreamsReport:
    """By trial, from half of what the time per hop promises on."""
    listener = Listener(asked.bundles, asked.tasks, gallery=None, gate=asked.gate)
    seconds = asked.seconds_of("streams")
    promised = burst or measure(asked.bundles, asked.tasks, 10.0, sound=asked.sound, gate=asked.gate)
    if asked.sound is None:
        sound, gate = noise(round((seconds + 10) * SAMPLE_RATE_HZ)), lambda: OpenGate(make_gate(asked.gate))
    else:
        sound, gate = read_audio(asked.sound), None
    first = max(2, round(0.5 / promised.real_time_factor / (1 - promised.waited)) if promised.waited < 1 else 2)
    return streams_in_time(listener, sound, seconds, gate=gate, first=first)


def _words(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
