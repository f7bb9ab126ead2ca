"""All modes together, the picture, and the help that teaches them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from xml.etree import ElementTree

import numpy as np
import pytest

from edge_lupi.bundle.bundle import Bundle, shipped_bundle
from edge_lupi.device.bench.plot import times_svg
from edge_lupi.device.bench.report import Asked
from edge_lupi.errors import InputError

Cli = Callable[..., CompletedProcess[str]]
TWO_VOICES = Path(__file__).parents[3] / "examples" / "two_voices.flac"


def test_all_modes(cli: Cli, tmp_path: Path) -> None:
    picture = tmp_path / "hops.svg"
    done = cli("bench", "--mode", "all", "--seconds", "5", "--input", TWO_VOICES, "--gate", "energy", "--json", "--plot", picture)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (found["mode"], found["hops"], found["paced"]["hops"]) == ("all", 10, 10)
    assert found["streams"]["in_time"] >= 1
    assert found["cold"]["p50_ms"] > 0
    assert next(iter(found["parts"])) == "source"
    assert found["environment"]["runs_on"] == "CPU"
    names = [element.text for element in ElementTree.fromstring(picture.read_text()).iter() if element.text]
    assert {"burst, wall", "burst, thread", "paced, wall", "paced, thread", "ms per hop"} <= set(names)


def test_the_picture_ends_where_the_times_do() -> None:
    times = np.geomspace(1, 100, 500)
    root = ElementTree.fromstring(times_svg("<&>", [("a", times), ("b", times[:1])]))
    lines = [element.get("points", "").split() for element in root.iter() if element.tag.endswith("polyline")]
    assert len(lines) == 2
    first, last = (tuple(map(float, point.split(","))) for point in (lines[0][0], lines[0][-1]))
    assert first[0] < last[0]
    assert first[1] > last[1]
    assert len(lines[0]) > 100


def test_what_cannot_be_asked(cli: Cli, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a mode of burst, paced, streams, cold, all, got 'fast'"):
        Asked([Bundle.load(shipped_bundle("speaker"))], ["speaker"], "fast")
    for words, said in [
        (("--mode", "fast"), "expected a mode"),
        (("--mode", "cold", "--plot", tmp_path / "x.svg"), "expected --mode burst, paced or all for --plot"),
        (("--plot", tmp_path / "no" / "x.svg"), "could not write"),
        (("--input", tmp_path / "no.wav"), "no such file"),
        (("--gate", "none"), "expected a gate"),
    ]:
        done = cli("bench", *words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
        assert said in done.stderr


def test_help_teaches_and_loads_nothing() -> None:
    code = (
        "import sys\nsys.argv = ['edge-lupi', 'bench', '--help']\nfrom edge_lupi.cli import main\n"
        "try:\n    main()\nexcept SystemExit as exit:\n    assert not exit.code\nprint('LOADED', *sys.modules)"
    )
    began = os.times().children_user
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert os.times().children_user - began < 1, "of a processor's time, however busy the machine is"
    assert "numpy" not in done.stdout.split("LOADED")[1].split()
    said = " ".join(done.stdout.split("LOADED")[0].split())
    for words in ("--mode", "burst|paced|streams|cold|all", "--compare before.json", "--fail-if 'p99>+10%'", "the machine is busy", "exit code 0"):  # fmt: skip
        assert words in said
