"""Who may import whom, what is exported, and what the wheel holds."""

import ast
import importlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "edge_lupi"
SOURCES = sorted(PACKAGE.rglob("*.py"))
MODULES = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in SOURCES]
TRAINED = "edge_lupi.evaluate.trained"  # students and teachers of torch
ON_THE_WORKSTATION = ("edge_lupi.models", "edge_lupi.train", "edge_lupi.compile", TRAINED)
ON_THE_DEVICE = [name for name in MODULES if not name.startswith(ON_THE_WORKSTATION)]
TRAINING_ONLY = ("torch", "torchaudio", "modelopt", "lightning_fabric", "onnx", "av", "mediapipe")


def in_a_fresh_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout


def test_the_device_loads_no_torch() -> None:
    loaded = in_a_fresh_python(
        f"import sys, importlib\nfor name in {ON_THE_DEVICE!r}: importlib.import_module(name)\nprint(*sys.modules)"
    ).split()
    assert "edge_lupi.runtime.compiled_student" in loaded
    assert not set(loaded).intersection(TRAINING_ONLY)


def bound_by(code: str) -> Iterator[str]:
    """The names that a module's own statements bind; those under an `if` or a `try` may be alternatives."""
    for node in ast.parse(code).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))


def test_no_name_is_bound_twice_at_the_top_of_a_module() -> None:
    counts = {path.relative_to(PACKAGE): Counter(bound_by(path.read_text(encoding="utf-8"))) for path in SOURCES}
    assert [(str(path), name) for path, names in counts.items() for name, n in names.items() if n > 1] == []


def contracts_kept(folder: Path) -> subprocess.CompletedProcess[str]:
    """What import-linter says of the package in a folder by the contracts of pyproject.toml."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("words.py", "", ""),
        ("models/header.py", "import edge_lupi.train.loop", "Rooms by layers"),
        ("runtime/band.py", "import edge_lupi.models.student", "Rooms by layers"),
        ("compile/targets.py", "import edge_lupi.train.loop", "Rooms by layers"),
        ("runtime/listening/latency.py", "import edge_lupi.runtime.listening.listener", "No circles"),
        ("data/splits.py", "import torch", "needs no torch"),
        ("runtime/level.py", "from edge_lupi.terminal import note", "everything else logs"),
        ("new_room.py", "", "Rooms by layers"),
    ],
)
def test_import_contracts(tmp_path: Path, file: str, line: str, broken: str) -> None:
    """Kept by the package as it is, and broken by every planted arrow that must not be."""
    shutil.copytree(PACKAGE, tmp_path / "edge_lupi", ignore=shutil.ignore_patterns("__pycache__", "bundles"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "edge_lupi" / file).open("a") as planted:
        planted.write(f"{line}\n")
    done = contracts_kept(tmp_path)
    assert (done.returncode != 0) == bool(broken), done.stdout + done.stderr
    assert [row for row in done.stdout.splitlines() if "BROKEN" in row and broken in row] or not broken


@pytest.mark.parametrize("name", [name for name in MODULES if "." in name])
def test_what_is_exported_is_there(name: str) -> None:
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", [])
    assert sorted(exported) == sorted(set(exported))
    assert [word for word in exported if not hasattr(module, word)] == []


def test_the_packages_own_names() -> None:
    import edge_lupi

    assert {name: getattr(edge_lupi, name) for name in edge_lupi.__all__}.keys() == set(edge_lupi.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = edge_lupi.nothing


def installed(*names: str) -> bool:
    """By their metadata: looking for pip's spec makes setuptools give the old distutils back."""
    found = {distribution.name for distribution in distributions()}
    return found.issuperset(names)


@pytest.mark.skipif(not installed("pip", "setuptools"), reason="no tools to build a wheel")
def test_the_wheel_holds_the_package_alone(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    shutil.copytree(PACKAGE, source / "edge_lupi", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("train", "compile", "runtime", "tests", "benchmarks"):  # what must stay out
        (source / folder).mkdir()
        (source / folder / "__init__.py").touch()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = ["-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q", "-w", str(tmp_path), "."]
    done = subprocess.run(
        [sys.executable, *build],
        cwd=source,
        capture_output=True,
        text=True,
        env={**os.environ, "PIP_NO_CACHE_DIR": "1"},
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = wheel.namelist()
        metadata = wheel.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name.split("/")[0]} == {"edge_lupi"}
    held = {
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*")
        if path.suffix in (".py", ".typed", ".onnx", ".npz", ".html")
    }
    assert held <= set(names)
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert len(needed) <= 9
    assert "torch" not in "".join(needed)
