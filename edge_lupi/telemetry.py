"""ONNX Runtime 1.29 and later send telemetry; here they do not.

On Linux its first import makes a device id and a queue under ~/.cache, and a thread looks up a host of Microsoft's to
send the processor, the memory and the interpreter's path to. `ORT_DISABLE_TELEMETRY` is read once, in that import.
"""

from __future__ import annotations

import os
import sys
import warnings

__all__ = ["send_nothing"]

SWITCH = "ORT_DISABLE_TELEMETRY"


def send_nothing() -> None:
    """Switch telemetry off, for child processes too. Warns where ONNX Runtime was imported before and may send already."""
    asked = os.environ.get(SWITCH)
    os.environ[SWITCH] = "1"
    early = sys.modules.get("onnxruntime")
    if early is None or asked == "1":
        return
    early.disable_telemetry_events()  # later events; what the import has queued is sent all the same
    warnings.warn(
        f"onnxruntime was imported before edge_lupi, and its telemetry may run: import edge_lupi first, or set {SWITCH}=1",
        RuntimeWarning,
        stacklevel=3,
    )
