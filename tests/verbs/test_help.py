"""Help teaches: every example can be typed as it stands, fits a terminal of 80 columns, and no line of a list is cut off."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

from typer.main import get_command
from typer.testing import CliRunner

from edge_lupi.cli import app


def _commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield words, command
    for name, own in getattr(command, "commands", {}).items():
        yield from _commands(own, (*words, name))


COMMANDS = dict(_commands(get_command(app)))


def _help(*words: str) -> str:
    return CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"}).output


def test_examples_can_be_typed_as_they_stand() -> None:
    typed = 0
    for words, command in COMMANDS.items():
        shown = _help(*words).partition("Examples:")[2] if command.epilog else ""
        for line in re.findall(r"^ +(?:\.\.\. \| )?edge-lupi (.*)$", shown, re.M):
            asked = shlex.split(re.split(r"  +", line)[0])
            verb = next(tuple(asked[:size]) for size in (2, 1) if tuple(asked[:size]) in COMMANDS)
            context = COMMANDS[verb].make_context(verb[-1], asked[len(verb) :], resilient_parsing=True)
            assert not context.args, line
            typed += 1
    assert typed >= 25


def test_examples_fit_and_lists_are_whole() -> None:
    for words, command in COMMANDS.items():
        if command.epilog or hasattr(command, "commands"):
            lines = _help(*words).splitlines()
            assert max(map(len, lines)) <= 80, (words, max(lines, key=len))
            assert not [line for line in lines if line.endswith("...") and re.match(r" +[a-z-]+  ", line)], words


def test_verbs_for_newcomers_have_examples() -> None:
    for verb in ("listen", "enroll", "speakers", "calibrate", "evaluate", "compile", "inspect", "train", "bench"):
        assert "edge-lupi " in (COMMANDS[(verb,)].epilog or ""), verb
