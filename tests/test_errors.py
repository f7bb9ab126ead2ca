"""Library errors carry the fault, the verb adds the flag: what an error names as an option is one that can be typed."""

from __future__ import annotations

import ast
import logging
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_lupi.device.bench.compare import RuleError
from edge_lupi.entry import run
from edge_lupi.errors import BundleError, InputError, MissingExtra
from edge_lupi.terminal import log_shown

PACKAGE = Path(__file__).resolve().parents[1] / "edge_lupi"
FLAG = re.compile(r"(?<![\w-])--(?:[a-z][a-z-]*|\{\})")
COMMAND = re.compile(r"edge-lupi [a-z]+ [^;:,()]*")  # a whole one, which holds wherever it is read
OF_THE_COMMAND_LINE = {"cli.py", "entry.py", "terminal.py", "verbs", "device/bench/cold.py"}  # cold.py runs one


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


def _options_named() -> Iterator[ast.expr]:
    """Those of errors, and of log records, `extra={"options": ...}`."""
    for _, call in _calls(PACKAGE):
        for keyword in call.keywords:
            if keyword.arg == "options":
                yield keyword.value
            elif keyword.arg == "extra" and isinstance(keyword.value, ast.Dict):
                yield from keyword.value.values


def _flags() -> set[str]:
    """All that can be typed."""
    from typer.main import get_command

    from edge_lupi.cli import app

    typed, waiting = set[str](), [get_command(app)]
    while waiting:
        command = waiting.pop()
        waiting += getattr(command, "commands", {}).values()
        typed |= {flag for parameter in command.params for flag in parameter.opts}
    return typed


def _sentences(code: str) -> Iterator[str]:
    """Every string in it that is no docstring; what an f-string fills in is `{}`."""
    waiting: list[ast.AST] = [ast.parse(code)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            waiting += ast.iter_child_nodes(node)


def test_options_that_errors_name_can_be_typed() -> None:
    named = {
        f"--{str(name.value).replace('_', '-')}"
        for options in _options_named()
        for name in getattr(options, "elts", ())
        if isinstance(name, ast.Constant)
    }
    assert len(named) > 25
    assert named <= _flags()


def _is_of_the_command_line(path: Path) -> bool:
    place = path.relative_to(PACKAGE)
    return not OF_THE_COMMAND_LINE.isdisjoint({place.parts[0], place.as_posix()})


def test_sentences_of_the_library_name_no_flags() -> None:
    """Neither those raised nor those logged, said or kept; but for whole commands."""
    flags = {*_flags(), "--{}"}
    found = [
        f"{path.relative_to(PACKAGE)}: {sentence[:200]}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if not _is_of_the_command_line(path)
        for sentence in _sentences(path.read_text(encoding="utf-8"))
        if not flags.isdisjoint(FLAG.findall(COMMAND.sub("", sentence)))
    ]
    assert found == []


def test_flags_in_sentences_are_seen() -> None:
    code = '''
def refuse(name):
    """It may be --data."""
    log.info(f"{name} is left out; --all takes it in")
    raise InputError(f"expected --{name}, got none: " "edge-lupi compile --data CORPUS, or pass --trials")
'''
    said = [FLAG.findall(COMMAND.sub("", sentence)) for sentence in _sentences(code)]
    assert sorted(filter(None, said)) == [["--all"], ["--{}", "--trials"]]


def test_the_command_line_adds_flags_to_what_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    with log_shown():
        logging.getLogger("edge_lupi.x").warning("left out", extra={"options": ("leave_one_out", "all")})
    assert capsys.readouterr().err == "edge-lupi: left out (--leave-one-out, --all)\n"


def test_errors_come_whole_out_of_another_process() -> None:
    """Those of a pool are pickled there."""
    with_option = BundleError("expected a, got b: give c", options=("task",))
    for error in (with_option, MissingExtra("listen", "PyAV", "train"), RuleError("no rule", options=("fail_if",))):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.options) == (type(error), str(error), error.options)


def test_nobody_is_told_to_remove_a_file_of_their_own() -> None:
    of_ours = {"cuda.py", "loop.py", "cut_shards.py", "shard_embeddings.py"}  # libraries on a path; what edge-lupi made
    told = [path.name for path in PACKAGE.rglob("*.py") if re.search(r"remove (it|them|that)\b", path.read_text())]
    assert set(told) <= of_ours
