"""Speech gates by name: `voice` or `energy`."""

from __future__ import annotations

from edge_lupi.errors import InputError
from edge_lupi.runtime.gates.energy import SpeechGate
from edge_lupi.runtime.gates.gate import Gate
from edge_lupi.runtime.gates.silero import VoiceGate

__all__ = ["GATES", "make_gate"]

GATES = ("voice", "energy")


def make_gate(name: str = "voice") -> Gate:
    """The gate of that name, fresh."""
    if name not in GATES:
        raise InputError(f"expected a gate {' or '.join(GATES)}, got {name!r}")
    return VoiceGate() if name == "voice" else SpeechGate()
