"""What we say of ourselves: the recogniser's speech-to-text programs, under names that show who stands before them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wyoming.event import Event

from edge_lupi.home.wyoming.policy import Policy

__all__ = ["info_event", "own_name"]

BEFORE = "edge-lupi "


def info_event(programs: Sequence[Mapping[str, Any]], policy: Policy) -> Event:
    """The answer to `describe`. Models, languages, licences are the recogniser's; other services than speech to text it has not here."""
    return Event("info", {"asr": [_program(program, policy) for program in programs]})


def own_name(name: str) -> str:
    """What the recogniser calls the program that somebody selects by our name for it."""
    return name.removeprefix(BEFORE)


def _program(program: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
    description = program.get("description") or program["name"]
    pieces = bool(program.get("supports_transcript_streaming")) and policy.passes_pieces
    ours = {
        "name": f"{BEFORE}{program['name']}",
        "description": f"{description}, with who spoke (edge-lupi)",
        "supports_transcript_streaming": pieces,
    }
    if policy.holds_back:  # it hears nothing before the end, so it cannot find the end
        ours["requires_external_vad"] = True
    return {**program, **ours}
