"""doctor."""

from __future__ import annotations

import typer

from edge_lupi.terminal import say, say_json
from edge_lupi.verbs.options import JsonOption


def doctor(json: JsonOption = False) -> None:
    """Look over this machine, and say what to do where something is amiss; exit code 1 if listening cannot work."""
    from edge_lupi.device.doctor import examine

    fatal = False
    findings = []
    for found in examine():
        fatal |= found.is_fatal
        findings.append(found)
        if not json:
            say(found.text())
    if json:
        say_json({"ok": not fatal, "findings": [found.plain() for found in findings]})
    if fatal:
        raise typer.Exit(1)
