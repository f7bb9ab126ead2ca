"""Pages that scripts write say what the scripts would say now."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def script(name: str) -> ModuleType:
    """A script of docs/make as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "make" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where its dataclasses look for their names
    spec.loader.exec_module(module)
    return module


def test_measured_says_what_the_results_say() -> None:
    assert script("measured").page() == (ROOT / "docs" / "measured.md").read_text(encoding="utf-8")


def test_the_readmes_figures_are_measured() -> None:
    measured = (ROOT / "docs" / "measured.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.split("## Three figures")[1].split("\n\n")[1]
    figures = re.findall(r"(\d+\.\d) %(?: \((\d+\.\d) to (\d+\.\d)\))?", table)
    assert len(figures) >= 4
    for value, low, high in figures:
        assert f"{value} % ({low} to {high})" in measured if low else f"{value} % (" in measured, value


def test_every_edge_dependency_is_in_the_table() -> None:
    dependencies = (
        (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("dependencies = [", 1)[1].split("]", 1)[0]
    )
    names = re.findall(r'^ +"([a-z]+)>=', dependencies, re.M)
    assert len(names) == 8
    rows = (ROOT / "docs" / "edge_dependencies.md").read_text(encoding="utf-8").splitlines()
    for name in names:
        row = next(row.split("|") for row in rows if row.startswith(f"| {name} |"))
        versions = [version.strip() for version in row[2:6]]
        assert all(version != "–" for version in versions) or name == "tomli"
        assert row[7].strip() not in ("", "not said")
