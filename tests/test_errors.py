"""Library errors carry the fault, the verb adds the flag: what an error names as an option is one that can be typed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_lupi.entry import run
from edge_lupi.errors import InputError

PACKAGE = Path(__file__).resolve().parents[1] / "edge_lupi"
ROOMS = ("runtime", "bundle")  # whose sentences are shown by pages and programs too
FLAG = re.compile(r"(?<![\w-])--[a-z]")
COMMANDS = ("edge-lupi ", "torchrun", "pip ", "arecord", "make the venv with")


def test_the_command_line_adds_the_flags(capsys: pytest.CaptureFixture[str]) -> None:
    error = InputError("expected a, got b: replace it, or keep no audio", options=("replace", "keep_audio"))
    assert str(error) == "expected a, got b: replace it, or keep no audio"

    def command(standalone_mode: bool) -> None:
        raise error

    assert run(command) == 1
    said = "edge-lupi: expected a, got b: replace it, or keep no audio (--replace, --keep-audio)\n"
    assert capsys.readouterr().err == said


def _calls(folder: Path) -> Iterator[tuple[Path, ast.Call]]:
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield path, node


def test_options_that_errors_name_can_be_typed() -> None:
    from typer.main import get_command

    from edge_lupi.cli import app

    typed, waiting = set[str](), [get_command(app)]
    while waiting:
        command = waiting.pop()
        waiting += getattr(command, "commands", {}).values()
        typed |= {flag for parameter in command.params for flag in parameter.opts}
    named = {
        f"--{str(name.value).replace('_', '-')}"
        for _, call in _calls(PACKAGE)
        for keyword in call.keywords
        if keyword.arg == "options" and isinstance(keyword.value, ast.Tuple)
        for name in keyword.value.elts
        if isinstance(name, ast.Constant)
    }
    assert len(named) > 5
    assert named <= typed


@pytest.mark.parametrize("room", ROOMS)
def test_sentences_of_the_library_name_no_flags(room: str) -> None:
    """But for whole commands, which hold wherever they are read."""
    found = []
    for path, call in _calls(PACKAGE / room):
        if getattr(call.func, "id", "").endswith("Error"):
            text = "".join(n.value for n in ast.walk(call) if isinstance(n, ast.Constant) and isinstance(n.value, str))
            if FLAG.search(text) and not any(command in text for command in COMMANDS):
                found.append(f"{path.name}: {text}")
    assert found == []


def test_nobody_is_told_to_remove_a_file_of_their_own() -> None:
    of_ours = {"cuda.py", "loop.py", "cut_shards.py", "shard_embeddings.py"}  # libraries on a path; what edge-lupi made
    told = [path.name for path in PACKAGE.rglob("*.py") if re.search(r"remove (it|them|that)\b", path.read_text())]
    assert set(told) <= of_ours
