"""Every part of a machine, well or not: one line with what to do, and an exit code that says whether listening works."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace

import pytest

from edge_lupi.bundle import bundle
from edge_lupi.device import doctor
from edge_lupi.device.doctor import Finding, examine
from edge_lupi.installed import install_command

Cli = Callable[..., CompletedProcess[str]]
PARTS = ["Python", "edge-lupi", "ONNX Runtime", "processor", "speaker", "emotion", "microphones", "temperature", "clock", "Jetson", "GPU", "TensorRT", "TensorRT-RTX", "ONNX on a GPU", "training", "faces"]  # fmt: skip


def finding(part: str, root: Path = Path("/")) -> Finding:
    return next(found for found in examine(root) if found.part == part)


def write(root: Path, **files: str) -> Path:
    """Files of a system; __ stands for / in their names."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_this_machine(cli: Cli) -> None:
    done = cli("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line[8:22].strip() for line in lines] == PARTS
    assert {line[:8].strip() for line in lines} <= {"ok", "warn", "missing"}


def test_as_json_and_soon(cli: Cli) -> None:
    began = time.process_time(), os.times().children_user
    done = cli("doctor", "--json")
    assert os.times().children_user - began[1] < 2, "of a processor's time, however busy the machine is"
    found = json.loads(done.stdout)
    assert found["ok"] is True
    assert [one["part"] for one in found["findings"]] == PARTS
    assert all(one.keys() == {"part", "status", "said", "needed"} for one in found["findings"])


def test_it_imports_nothing_of_training() -> None:
    code = "import sys\nfrom edge_lupi.device.doctor import examine\nlist(examine())\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "onnx", "modelopt", "av"} & set(done.stdout.split())


def after(change: str) -> CompletedProcess[str]:
    """`edge-lupi doctor` where a line of Python has broken something."""
    code = (
        f"import ctypes.util, sys\n{change}\nsys.argv = ['edge-lupi', 'doctor']\nfrom edge_lupi.cli import main\nmain()"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("sys.modules['onnxruntime'] = None", "missing ONNX Runtime  cannot be imported"),
        ("sys.modules['sounddevice'] = None", "missing microphones   "),
        ("ctypes.util.find_library = lambda name: None  # as where libportaudio2 is not installed", "missing microphones   "),
    ],
)  # fmt: skip
def test_what_listening_needs(change: str, line: str) -> None:
    done = after(change)
    assert (done.returncode, done.stderr) == (1, "")
    (said,) = [one for one in done.stdout.splitlines() if one.startswith(line)]
    assert "install" in said
    assert len(done.stdout.splitlines()) == len(PARTS)


def test_a_damaged_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(bundle.SHIPPED, tmp_path / "bundles")
    graph = tmp_path / "bundles" / "speaker.lupi" / "encoder.onnx"
    graph.write_bytes(graph.read_bytes()[::-1])
    monkeypatch.setattr(bundle, "SHIPPED", tmp_path / "bundles")
    found = finding("speaker")
    assert (found.status, found.is_fatal) == ("missing", True)
    assert "encoder.onnx does not match its sha256" in found.said
    assert finding("emotion").status == "ok"


def test_what_looking_at_faces_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "face.task").write_bytes(b"model")
    for version, model, status, words in (
        (None, None, "ok", install_command("video")),
        ("0.10.31", None, "warn", "https://ai.google.dev"),
        ("0.10.31", "none.task", "warn", "names no file"),
        ("0.10.31", "face.task", "ok", "mediapipe 0.10.31, "),
        ("1.2.3", "face.task", "warn", "expected mediapipe below 0.10.35, as later ones report to Google, got 1.2.3"),
    ):
        monkeypatch.setattr(doctor, "_version", lambda name, version=version: version)
        monkeypatch.setenv("EDGE_LUPI_FACE_MODEL", str(tmp_path / model) if model else "")
        found = finding("faces")
        assert (found.status, found.is_fatal) == (status, False)
        assert words in found.said


def test_whatever_is_raised_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(task: str) -> Path:
        raise RuntimeError("a library\nfell over")

    monkeypatch.setattr(bundle, "shipped_bundle", broken)
    assert finding("speaker").text() == "missing speaker       cannot be looked at (a library fell over)"


@pytest.mark.parametrize(
    ("release", "status", "words"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic", "ok", "L4T 36.4.3, power mode MAXN"),
        ("# R35 (release), REVISION: 6.1, GCID: 1, BOARD: t186ref", "warn", "has a TensorRT that lacks strongly typed"),
        ("# R36 (release), REVISION: 3.0, GCID: 1", "warn", "JetPack 6.0, whose TensorRT 8.6 lacks strongly typed"),
        ("# R38 (release), REVISION: 2.1, GCID: 1", "ok", "L4T 38.2.1"),
        ("something else", "warn", "is not as NVIDIA writes it"),
    ],
)
def test_a_jetson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: str, status: str, words: str) -> None:
    root = write(
        tmp_path, etc__nv_tegra_release=release, bin__nvpmodel="#!/bin/sh\necho 'NV Power Mode: MAXN'\necho 0\n"
    )
    (root / "bin" / "nvpmodel").chmod(0o755)
    monkeypatch.setenv("PATH", str(root / "bin"), prepend=":")
    found = finding("Jetson", root)
    assert found.status == status
    assert words in found.said


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("#!/bin/sh\nexit 1\n", "sudo nvpmodel -q"),
        ("#!/bin/sh\nexec sleep 30\n", "does not answer"),
        (None, "no nvpmodel"),
    ],
)
def test_a_power_mode_that_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, words: str
) -> None:
    root = write(tmp_path, etc__nv_tegra_release="# R36 (release), REVISION: 4.3, GCID")
    if script:
        write(root, bin__nvpmodel=script)
        (root / "bin" / "nvpmodel").chmod(0o755)
        monkeypatch.setenv("PATH", str(root / "bin"), prepend=":")
    assert words in finding("Jetson", root).said


@pytest.mark.parametrize(
    ("files", "status", "words"),
    [
        ({}, "ok", "does not tell"),
        ({"sys__class__thermal__thermal_zone0__type": "cpu", "sys__class__thermal__thermal_zone0__temp": "41500"}, "ok", "42 °C at the hottest (cpu)"),
        ({"sys__class__thermal__thermal_zone1__type": "gpu", "sys__class__thermal__thermal_zone1__temp": "91000"}, "warn", "it will slow down"),
        ({"sys__class__thermal__thermal_zone0__type": "off", "sys__class__thermal__thermal_zone0__temp": "n/a"}, "ok", "does not tell"),
    ],
)  # fmt: skip
def test_temperature(tmp_path: Path, files: dict[str, str], status: str, words: str) -> None:
    found = finding("temperature", write(tmp_path, **files))
    assert found.status == status
    assert words in found.said


def test_a_processor_that_was_slowed_down(tmp_path: Path) -> None:
    zone = {"sys__class__thermal__thermal_zone0__type": "cpu", "sys__class__thermal__thermal_zone0__temp": "60000"}
    counter = {"sys__devices__system__cpu__cpu0__thermal_throttle__package_throttle_count": "7"}
    found = finding("temperature", write(tmp_path, **zone, **counter))
    assert (found.status, "slowed down for heat 7 times" in found.said) == ("warn", True)


@pytest.mark.parametrize(("governor", "status"), [("powersave", "warn"), ("performance", "ok")])
def test_the_clock(tmp_path: Path, governor: str, status: str) -> None:
    root = write(tmp_path, sys__devices__system__cpu__cpu0__cpufreq__scaling_governor=f"{governor}\n")
    assert finding("clock", root).status == status


@pytest.mark.parametrize(
    "kind", ["x86_64 Kernel Module", "Open Kernel Module for x86_64", "Open Kernel Module for aarch64"]
)
def test_a_driver_without_a_gpu(tmp_path: Path, kind: str) -> None:
    line = f"NVRM version: NVIDIA UNIX {kind}  550.54.15  Tue Mar  5 22:23:56 UTC 2024"
    found = finding("GPU", write(tmp_path, proc__driver__nvidia__version=line))
    assert found.status == "warn"
    assert "driver 550.54.15 is loaded" in found.said


def test_the_real_tensorrt_is_named(tensorrt_builder: dict[str, str], cli: Cli) -> None:
    lines = cli("doctor", env=tensorrt_builder).stdout.splitlines()
    assert "ok      TensorRT      11.4.0.106" in lines


def test_jetpack_6_0_in_one_sentence() -> None:
    """Its TensorRT is refused before any object of it exists; `compile` says the same."""
    from edge_lupi.runtime.engines.tensorrt import why_not

    said = why_not(SimpleNamespace(__version__="8.6.2.3", __file__=__file__), None)  # type: ignore[arg-type]
    assert said == (
        "TensorRT 8.6.2.3 is too old, engines need strongly typed networks of 10.3 or newer "
        "(JetPack 6.0 has 8.6): on a Jetson install JetPack 6.1 or newer"
    )
