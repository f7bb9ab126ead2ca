"""What `make dist` made, in environments that hold nothing else: every Python that is here, and the oldest versions allowed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.clean_venv
ROOT = Path(__file__).resolve().parents[2]
DIST, EXAMPLES = ROOT / "dist", ROOT / "examples"
OLDEST_MINOR, NEWEST_MINOR = 10, 14


def pythons() -> dict[str, str]:
    """The interpreters of this machine by version, "3.10" to "3.14": on the path, or pyenv's."""
    found = {}
    for minor in range(OLDEST_MINOR, NEWEST_MINOR + 1):
        version = f"3.{minor}"
        beside = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
        for path in [*beside, shutil.which(f"python{version}")]:
            if path and subprocess.run([path, "-c", "import venv, ensurepip"], capture_output=True).returncode == 0:
                found[version] = str(path)
    return found


PYTHONS = pythons()


def made(pattern: str) -> Path:
    """The newest file of dist/ of that name."""
    files = sorted(DIST.glob(pattern), key=lambda path: path.stat().st_mtime)
    assert files, f"expected {pattern} in {DIST}: run `make dist`"
    return files[-1]


def environment(folder: Path, python: str, *packages: str) -> Path:
    """A new virtual environment with these packages; the folder of its programs."""
    subprocess.run([python, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "-q", *packages], check=True, timeout=600)
    return folder / "bin"


def hears_two_voices(programs: Path, home: Path) -> None:
    """`listen` says who speaks in the example, in a home where nothing is."""
    clean = {"HOME": str(home), "PATH": f"{programs}:/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    listen = [programs / "edge-lupi", "listen", "--input", EXAMPLES / "two_voices.flac", "--json"]
    said = subprocess.run(listen, capture_output=True, text=True, env=clean, cwd=home, timeout=120)
    assert said.returncode == 0, said.stderr
    agree = [programs / "python", EXAMPLES / "agreement.py", EXAMPLES / "two_voices.rttm", "--least", "0.9"]
    done = subprocess.run(agree, input=said.stdout, capture_output=True, text=True, env=clean, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def distributions(programs: Path) -> set[str]:
    code = "import importlib.metadata as m, json; print(json.dumps([d.name for d in m.distributions()]))"
    said = subprocess.run([programs / "python", "-c", code], capture_output=True, text=True, check=True)
    return {re.sub(r"[-_.]+", "-", name).lower() for name in json.loads(said.stdout)}


def floors(wheel: Path, python: str) -> list[str]:
    """The lowest version that the wheel allows of each thing it needs, as pip takes it."""
    import zipfile

    from packaging.requirements import Requirement

    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(name).decode().splitlines()
    needed = [Requirement(line.split(":", 1)[1]) for line in lines if line.startswith("Requires-Dist:")]
    here = [r for r in needed if not r.marker or r.marker.evaluate({"extra": "", "python_version": python})]
    assert all([s.operator for s in r.specifier] == [">="] for r in here), "expected one lower bound for each"
    return [f"{r.name}=={next(iter(r.specifier)).version}" for r in here]


@pytest.mark.parametrize("version", PYTHONS)
def test_the_wheel_listens(version: str, tmp_path: Path) -> None:
    programs = environment(tmp_path / "venv", PYTHONS[version], str(made("*.whl")))
    hears_two_voices(programs, tmp_path)
    assert not distributions(programs) & {"torch", "onnx", "nvidia-modelopt", "uvicorn"}


@pytest.mark.parametrize("version", list(PYTHONS)[-1:])
def test_the_sdist_listens(version: str, tmp_path: Path) -> None:
    programs = environment(tmp_path / "venv", PYTHONS[version], str(made("*.tar.gz")))
    hears_two_voices(programs, tmp_path)


@pytest.mark.parametrize("version", list(PYTHONS)[:1])
def test_the_lowest_versions_listen(version: str, tmp_path: Path) -> None:
    wheel = made("*.whl")
    programs = environment(tmp_path / "venv", PYTHONS[version], str(wheel), *floors(wheel, version), "pytest")
    hears_two_voices(programs, tmp_path)
    for verb in ("listen", "enroll", "speakers"):  # typer draws these with the click that is there
        subprocess.run([programs / "edge-lupi", verb, "--help"], check=True, capture_output=True)
    tests = ["tests/sound", "tests/runtime/outputs", "tests/test_terminal.py", "tests/test_words.py"]
    apart = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(
        [programs / "python", "-P" if version != "3.10" else "-s", "-m", "pytest", *tests],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=apart,
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_sdist_holds_what_the_wheel_holds() -> None:
    import zipfile

    with zipfile.ZipFile(made("*.whl")) as wheel:
        package = {name for name in wheel.namelist() if name.startswith("edge_lupi/")}
    with tarfile.open(made("*.tar.gz")) as sdist:
        names = {name.split("/", 1)[1] for name in sdist.getnames() if "/" in name}
    assert package <= names
    assert {"pyproject.toml", "README.md", "LICENSE"} <= names


def test_the_bill_of_materials_names_all_that_comes_along(tmp_path: Path) -> None:
    bill = json.loads(made("*.cdx.json").read_text(encoding="utf-8"))
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "edge-lupi")
    named = {re.sub(r"[-_.]+", "-", part["name"]).lower(): part for part in bill["components"]}
    programs = environment(tmp_path / "venv", sys.executable, str(made("*.whl")))
    assert distributions(programs) - {"pip", "setuptools", "wheel", "edge-lupi"} == set(named)
    assert [name for name, part in named.items() if not part.get("licenses")] == []
    assert all(part["purl"].startswith("pkg:pypi/") for part in named.values())
