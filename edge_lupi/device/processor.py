"""The processor and the software that a figure of time depends on, as plain values."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from edge_lupi import __version__

__all__ = ["environment"]


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
