"""A device profile is a few options of compile, checked before any work; what is typed stands above it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from edge_lupi.compile.request import Profile, read_profile
from edge_lupi.errors import InputError

Cli = Callable[..., CompletedProcess[str]]
FOLDER = Path(__file__).resolve().parents[2] / "compile"
SHIPPED = sorted(FOLDER.glob("*.toml"))
KINDS_OF_DEVICE = ["agx_orin", "cpu_arm", "cpu_x86", "data_centre", "desktop_rtx", "orin_nano", "thor"]


def test_there_is_one_for_every_kind_of_device() -> None:
    assert [path.stem for path in SHIPPED] == KINDS_OF_DEVICE


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_ones_are_read(path: Path) -> None:
    found = read_profile(path)
    assert found.device
    assert found.expect
    assert found.request().target == {"cpu": "cpu", "desktop": "tensorrt-rtx"}.get(path.stem.split("_")[0], "tensorrt")


def test_without_one_the_defaults() -> None:
    assert read_profile(None) == Profile()


def test_what_is_typed_stands_above_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('device = "mine"\ntarget = "cpu"\nmax_batch = 2\nmax_drop = 1\n')
    assert read_profile(path) == Profile(device="mine", target="cpu", max_batch=2, max_drop=1)
    typed = read_profile(path, target="tensorrt", max_batch=None, precision="fp16")
    assert (typed.target, typed.max_batch, typed.precision) == ("tensorrt", 2, "fp16")
    assert typed.request(build=False).build is False


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_batches = 4", "has an unknown key max_batches: did you mean max_batch?"),
        ("colour = 4", "has an unknown key colour: known are device, expect, target"),
        ('max_batch = "4"', "expected a whole number as max_batch in .*, got '4'"),
        ("max_batch = true", "expected a whole number as max_batch"),
        ("target = 3", "expected text as target"),
        ('max_drop = "little"', "expected a number as max_drop"),
        (
            'target = "toaster"',
            "mine.toml: expected a target of auto, cpu, tensorrt, tensorrt-rtx, onnxruntime-tensorrt, onnxruntime-cuda, triton, got 'toaster'",
        ),
        ("max_batch = 0", "mine.toml: expected max_batch from 1 to 1024, got 0"),
        ("max_drop = 7", "mine.toml: expected max_drop from 0 to 1"),
        ("max_drop = nan", "expected a finite number of some size for max_drop in .*mine.toml, got nan"),
        ("[section]\nmax_batch = 1", "has an unknown key section"),
        ("target", r"mine.toml is not TOML \("),
        ("a = " + "[" * 5000, r"mine.toml is not TOML \("),
        ("#" * 70_000, r"expected a device profile of at most 65536 bytes at .*, got 70000"),
    ],
)
def test_what_it_cannot_be(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        read_profile(path)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(InputError, match=r"expected a device profile at .* take one of compile/"):
            read_profile(path)


def test_on_the_command_line(cli: Cli, mood_chain: Any, tmp_path: Path) -> None:
    shutil.copy(mood_chain.folder / "student.pt", tmp_path)
    done = cli("compile", tmp_path / "student.pt", "--profile", FOLDER / "cpu_x86.toml")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("x86-64 processor: one thread; int8 is taken only where")
    done = cli("compile", tmp_path / "student.pt", "--profile", FOLDER / "orin_nano.toml", "--max-batch", "5000")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "edge-lupi: expected max_batch from 1 to 1024, got 5000 (--max-batch)\n"
