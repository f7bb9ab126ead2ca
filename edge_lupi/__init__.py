"""edge-lupi: a student that hears, taught by a teacher that sees, made small enough to live beside a microphone.

from edge_lupi import Listener, shipped_bundle
from edge_lupi.runtime.sources import Microphone

for event in Listener(shipped_bundle("speaker")).listen(Microphone()):
    print(event.time, event.label)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edge_lupi.telemetry import send_nothing

send_nothing()  # before anything here imports ONNX Runtime

if TYPE_CHECKING:
    from edge_lupi.bundle import Bundle, shipped_bundle
    from edge_lupi.events import Event
    from edge_lupi.runtime.listener import Listener

__version__ = "0.1.0"
__all__ = ["Bundle", "Event", "Listener", "__version__", "shipped_bundle"]

_HOMES = {
    "Bundle": "edge_lupi.bundle",
    "Event": "edge_lupi.events",
    "Listener": "edge_lupi.runtime.listener",
    "shipped_bundle": "edge_lupi.bundle",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import edge_lupi` and `edge-lupi --help` stay instant."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
