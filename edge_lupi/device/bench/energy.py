"""Energy per hop from the power rails of a board: sysfs readings while it listens and before, joules out; None elsewhere.

The rails of a Jetson hang on INA3221 sensors, which Linux shows as hwmon (JetPack 5 and newer: in*_label, in*_input in mV,
curr*_input in mA) or as iio (JetPack 4: rail_name_*, in_power*_input in mW). A thread reads them ten times a second.
VDD_IN is what the whole module draws; where there is none, all rails together stand for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Energy", "Meter", "rails"]

EVERY_SECONDS = 0.1
IDLE_SECONDS = 2.0
WHOLE = "VDD_IN"
Watts = Callable[[], float]


@dataclass(frozen=True)
class Energy:
    """Watts by rail while it ran, of the whole board then and before, and joules per hop: all, and what idling would not have cost."""

    rails_watts: dict[str, float]
    watts: float
    idle_watts: float
    joules_per_hop: float
    joules_per_hop_above_idle: float

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    def text(self) -> str:
        """For people."""
        return (
            f"energy {1000 * self.joules_per_hop:.1f} mJ a hop, {1000 * self.joules_per_hop_above_idle:.1f} above idling "
            f"({self.watts:.2f} W against {self.idle_watts:.2f} W)"
        )


def rails(system: Path = Path("/sys")) -> dict[str, Watts]:
    """What each rail draws now, by its name; empty where this machine has no such sensors."""
    by_name = dict[str, Watts]()
    for sensor in sorted(system.glob("class/hwmon/hwmon*")):
        if _text(sensor / "name").startswith("ina3221"):
            for label in sorted(sensor.glob("in*_label")):
                number = label.name[2 : -len("_label")]
                volts, amperes = sensor / f"in{number}_input", sensor / f"curr{number}_input"
                if volts.is_file() and amperes.is_file():  # the sum of shunts has no current of its own
                    by_name[_text(label)] = lambda v=volts, a=amperes: _number(v) * _number(a) / 1e6  # type: ignore[misc]
    for label in sorted(system.glob("bus/iio/devices/iio:device*/rail_name_*")):
        power = label.parent / f"in_power{label.name.removeprefix('rail_name_')}_input"
        if power.is_file():
            by_name[_text(label)] = lambda p=power: _number(p) / 1e3  # type: ignore[misc]
    return by_name


class Meter:
    """Reads the rails while something runs; without rails it does nothing."""

    def __init__(self, by_name: Mapping[str, Watts] | None = None, idle_seconds: float = IDLE_SECONDS) -> None:
        self._rails = dict(rails() if by_name is None else by_name)
        self._idle_seconds = idle_seconds
        self._idle: list[dict[str, float]] = []
        self._running: list[dict[str, float]] = []
        self._seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Idle for two seconds, then read on until the end of the block."""
        if not self._rails:
            yield
            return
        with self._reading(self._idle):
            time.sleep(self._idle_seconds)
        began = time.perf_counter()
        with self._reading(self._running):
            yield
        self._seconds = time.perf_counter() - began

    def energy(self, hops: int) -> Energy | None:
        """Of so many hops; None where there is nothing to read."""
        if not self._running or not self._idle:
            return None
        means = {name: float(np.mean([reading[name] for reading in self._running])) for name in self._running[0]}
        watts, idle = _whole(means), float(np.mean([_whole(reading) for reading in self._idle]))
        joules = watts * self._seconds / hops
        return Energy(means, watts, idle, joules, joules - idle * self._seconds / hops)

    @contextmanager
    def _reading(self, readings: list[dict[str, float]]) -> Iterator[None]:
        over = threading.Event()

        def read() -> None:
            with suppress(OSError, ValueError):  # a sensor that stops answering ends its readings
                while True:
                    readings.append({name: watts() for name, watts in self._rails.items()})
                    if over.wait(EVERY_SECONDS):
                        return

        thread = threading.Thread(target=read, name="power rails", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _whole(by_name: Mapping[str, float]) -> float:
    return by_name[WHOLE] if WHOLE in by_name else sum(by_name.values())


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace").strip()[:64]
    except OSError:
        return ""


def _number(file: Path) -> float:
    return float(file.read_text("ascii"))
