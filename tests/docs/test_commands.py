"""Every command that the pages print is typed, in the order of its page, or says what it needs that is not here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import ROOT, Block, blocks, pages

PAGES = pages()
BLOCKS = {page: blocks(page) for page in PAGES}
RUN = [page for page in PAGES if any(not block.needs for block in BLOCKS[page])]
BETWEEN = "\x1e"
COPIED = ("examples", "train", "compile", "runtime", "benchmarks", "edge_lupi/bundles")


def reader(folder: Path, data_root: Path) -> None:
    """What a reader has: a copy of the repository, recordings of people, and a home where nothing is."""
    for name in COPIED:
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("node_modules", "results", "*.py[co]")
        )
    (folder / "home").mkdir()
    (folder / "bin").mkdir()
    for name, words in (("edge-lupi", "-m edge_lupi.cli"), ("python", "")):
        program = folder / "bin" / name
        program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} {words} "$@"\n')
        program.chmod(0o755)
    people(folder, data_root)


def people(folder: Path, data_root: Path) -> None:
    """Recordings by the names that the pages use: people alone, a talk of two, a folder for each, strangers, a trained student."""
    import numpy as np
    import soundfile

    voices: dict[str, list[Any]] = {}
    for path in sorted((data_root / "librispeech_excerpts" / "audio").glob("*/*.flac")):
        if len(voices) < 16 or path.parent.name in voices:
            samples, rate_hz = soundfile.read(path, dtype="int16")
            voices.setdefault(path.parent.name, []).append(samples)
    alone = [np.concatenate(parts) for parts in voices.values()]
    half = [samples.size // 2 for samples in alone]
    talk = np.concatenate([alone[0][half[0] : half[0] + 5 * rate_hz], alone[1][half[1] : half[1] + 5 * rate_hz]])
    written = {
        "alice.wav": alone[0][: half[0]],
        "monday.wav": alone[1][: half[1]],
        "tuesday.wav": alone[1][half[1] :],
        "call.wav": talk,
        "hall.wav": talk,
        "a.wav": talk[: 6 * rate_hz],
        "b.wav": talk[4 * rate_hz :],
        "people.wav": talk,
        "door.wav": alone[2][: 2 * rate_hz],
    }
    for person, samples, middle in zip(("anna", "ben", "carol", "dora"), alone[3:7], half[3:7], strict=True):
        written |= {
            f"recordings/{person}/monday.wav": samples[:middle],
            f"recordings/{person}/friday.wav": samples[middle:],
        }
    for number, samples in enumerate(alone[7:]):
        written[f"strangers/{number}/1.wav"] = samples
    for name, sound in written.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, sound, rate_hz)
    shutil.copytree(ROOT / "edge_lupi" / "bundles" / "speaker.lupi", folder / "my.lupi")
    (folder / "runs" / "my_own").mkdir(parents=True)
    shutil.copy(ROOT / "train" / "students" / "speaker.pt", folder / "runs" / "my_own" / "student.int8.pt")


def script(page: list[Block]) -> str:
    """The blocks of a page as one program, a mark between what they print."""
    lines = ["set -eo pipefail"]
    for block in page:
        lines.append(f"printf '{BETWEEN}'; echo '{block.page}:{block.line}'")
        *before, last = block.commands
        lines += [*before, f"{{ {last}\n}} && exit 97 || [ $? = 1 ]"] if block.fails else [block.text]
    return "\n".join(lines) + "\n"


def masked(text: str) -> str:
    """Without its digits, which differ from machine to machine, and with one space for several."""
    return " ".join(re.sub(r"\d+", "0", text).split())


@pytest.mark.parametrize("page", RUN)
def test_the_commands_of_a_page_run(page: str, tmp_path: Path, data_root: Path) -> None:
    reader(tmp_path, data_root)
    run = [block for block in BLOCKS[page] if not block.needs]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "EDGE_LUPI_", "PYTHON"))}
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    clean |= {"HOME": str(tmp_path / "home"), "PATH": path, "OMP_NUM_THREADS": "1", "EDGE_LUPI_DATA": str(data_root)}
    done = subprocess.run(
        ["bash", "-c", script(run)],
        cwd=tmp_path,
        env=clean,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    said = dict(part.split("\n", 1) for part in done.stdout.split(BETWEEN)[1:])
    assert "Traceback" not in done.stdout
    for block in run:
        printed = masked(said[f"{block.page}:{block.line}"])
        assert [line for line in block.prints if masked(line) not in printed] == [], printed


def test_every_verb_and_option_is_there() -> None:
    """Also of the commands that cannot be run here."""
    from typer.main import get_command

    from edge_lupi.cli import app

    top: Any = get_command(app)
    wrong = []
    for block in (block for page in PAGES for block in BLOCKS[page]):
        for words in re.findall(r"edge-lupi ((?:[^|&;'\"]|'[^']*'|\"[^\"]*\")*)", "\n".join(block.commands)):
            wrong += [f"{block.page}:{block.line}: {word}" for word in _unknown(top, words.split("\n")[0].split())]
    assert wrong == []


def _unknown(command: Any, words: list[str]) -> list[str]:
    """The verbs and options among these words that the command line lacks."""
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        if words[0] not in command.commands:
            return [words[0]]
        command, words = command.commands[words[0]], words[1:]
    known = {option for part in command.params for option in (*part.opts, *part.secondary_opts)} | {"--help", "-h"}
    return [word for word in words if re.match(r"--?[a-z]", word) and word not in known]


def test_what_is_not_run_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    everything = [block for page in PAGES for block in BLOCKS[page]]
    typed = Counter[str]()
    for block in everything:
        typed[block.needs] += len(block.commands)
    total = typed.total()
    run = typed.pop("")
    with capsys.disabled():
        print(f"\n{run} of {total} commands on {len(PAGES)} pages are run; {total - run} need something:")
        for needs, count in typed.most_common():
            print(f"  {count:3} {needs}")
    assert run >= 45
    assert all(len(needs) > 3 for needs in typed)


def test_a_block_is_found_with_its_mark_and_what_it_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "<!-- needs: a dog -->\n```sh\nbark \\\n  twice   # aloud\n```\n\n    edge-lupi listen\n    edge-lupi bench\n\nAs:\n\n"
        "<!-- fails -->\n```sh\ntrue\n```\n```text\nno\n```\n\n    not a command\n"
    )
    (tmp_path / "page.md").write_text(text)
    monkeypatch.setattr("tests.docs.blocks.ROOT", tmp_path)
    dog, plain, fails = blocks("page.md")
    assert (dog.needs, dog.commands) == ("a dog", ["bark twice"])
    assert (plain.needs, plain.fails, plain.commands) == ("", False, ["edge-lupi listen", "edge-lupi bench"])
    assert (fails.fails, fails.prints) == (True, ("no",))


@pytest.mark.parametrize(("code", "holds"), [(0, False), (1, True), (2, False)])
def test_a_block_that_should_fail_must(code: int, holds: bool) -> None:
    block = Block("page.md", 1, f"true\n(exit {code})", fails=True)
    done = subprocess.run(["bash", "-c", script([block])], capture_output=True)
    assert (done.returncode == 0) == holds
