"""The state of a machine that its pace depends on: clock governor, power mode, temperature, load, the cores a process may use.

Read from the system's files, as plain values; None where the system does not tell.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["governor", "power_mode", "read_file", "state", "temperatures"]

COMMAND_SECONDS = 1.0


def state(system: Path = Path("/sys")) -> dict[str, Any]:
    """What may differ from one measurement to the next on the same machine."""
    celsius = temperatures(system)
    return {
        "governor": governor(system),
        "power_mode": power_mode() if shutil.which("nvpmodel") else None,
        "affinity": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "load": [round(load, 2) for load in os.getloadavg()],
        "temperature_c": max(celsius.values(), default=None),
        "gpu": _gpu(),
    }


def governor(system: Path = Path("/sys")) -> str | None:
    """What decides about the first core's clock, as in `performance` or `schedutil`."""
    try:
        return read_file(system / "devices/system/cpu/cpu0/cpufreq/scaling_governor")
    except OSError:
        return None


def temperatures(system: Path = Path("/sys")) -> dict[str, float]:
    """Degrees Celsius by zone; without those that are switched off."""
    zones: dict[str, float] = {}
    for zone in sorted(system.glob("class/thermal/thermal_zone*")):
        with suppress(OSError, ValueError):
            zones[read_file(zone / "type")] = int(read_file(zone / "temp")) / 1000
    return zones


def power_mode() -> str:
    """A Jetson's, as nvpmodel tells it: `power mode MAXN`, or a sentence why it is unknown."""
    command = shutil.which("nvpmodel")
    if command is None:
        return "power mode unknown (no nvpmodel)"
    try:
        done = subprocess.run([command, "-q"], capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return "power mode unknown (nvpmodel does not answer)"
    match = re.search(r"NV Power Mode: *(\S+)", done.stdout)
    return f"power mode {match[1]}" if match else "power mode unknown (sudo nvpmodel -q tells)"


def read_file(file: Path) -> str:
    """The text of a system file. Raises OSError."""
    with file.open(encoding="utf-8", errors="replace") as opened:
        return opened.read(4096).strip()


def _gpu() -> str | None:
    from edge_lupi.runtime.engines.cuda import find_gpu

    gpu = find_gpu()
    return None if gpu is None else f"{gpu.name}, compute capability {gpu.capability}"
