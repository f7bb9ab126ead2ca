"""edge-lupi: a student that hears, taught by a teacher that sees, made small enough to live beside a microphone.

from edge_lupi import Listener, Microphone, shipped_bundle

with Microphone() as microphone:  # or SoundFile("call.wav")
    for event in Listener(shipped_bundle("speaker")).listen(microphone):
        print(event.time, event.label)

A program that has its own audio callback needs no source: `Listener(...).begin()` gives a `Listening`, whose `push(Block(samples))`
gives the events that are ready, and `finish()` the last.

Whoever was enrolled is called by their name, as in `edge-lupi listen`; `gallery=Gallery.open("people.json")` reads another
file, and with `gallery=None` everybody is numbered. A list of bundles tells what each of them knows, of the same sound.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edge_lupi.telemetry import send_nothing

send_nothing()  # before anything here imports ONNX Runtime

if TYPE_CHECKING:
    from edge_lupi.bundle.bundle import Bundle, shipped_bundle
    from edge_lupi.events import Event
    from edge_lupi.runtime.listening.listener import Listener
    from edge_lupi.runtime.listening.listening import Listening
    from edge_lupi.runtime.sources.block import Block
    from edge_lupi.runtime.sources.files import SoundFile
    from edge_lupi.runtime.sources.microphone import Microphone
    from edge_lupi.runtime.speakers.gallery import Gallery

__version__ = "0.1.0"
__all__ = [
    "Block",
    "Bundle",
    "Event",
    "Gallery",
    "Listener",
    "Listening",
    "Microphone",
    "SoundFile",
    "__version__",
    "shipped_bundle",
]

_HOMES = {
    "Block": "edge_lupi.runtime.sources.block",
    "Bundle": "edge_lupi.bundle.bundle",
    "Event": "edge_lupi.events",
    "Gallery": "edge_lupi.runtime.speakers.gallery",
    "Listener": "edge_lupi.runtime.listening.listener",
    "Listening": "edge_lupi.runtime.listening.listening",
    "Microphone": "edge_lupi.runtime.sources.microphone",
    "SoundFile": "edge_lupi.runtime.sources.files",
    "shipped_bundle": "edge_lupi.bundle.bundle",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import edge_lupi` and `edge-lupi --help` stay instant."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
