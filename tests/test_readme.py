"""The README says what is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAP = (ROOT / "docs" / "map.md").read_text(encoding="utf-8")


def test_file_map_names_every_module_and_nothing_else() -> None:
    listed = set(re.findall(r"^(edge_lupi/\S+\.py) ", MAP, re.MULTILINE))
    there = {str(p.relative_to(ROOT)) for p in (ROOT / "edge_lupi").rglob("*.py") if p.name != "__init__.py"}
    assert listed == there


def test_links_lead_somewhere() -> None:
    assert all((ROOT / target).exists() for target in re.findall(r"\]\(([^)#]+)\)", README))


def test_commands_in_the_readmes_exist() -> None:
    from typer.main import get_command

    from edge_lupi.cli import app

    command = get_command(app)
    verbs = set(command.commands)  # type: ignore[attr-defined]
    for readme in (ROOT / "README.md", *ROOT.glob("*/README.md")):
        typed = re.findall(r"edge-lupi ([a-z]+)", readme.read_text(encoding="utf-8"))
        assert set(typed) - {"train"} <= verbs | {"needs"}, readme
    assert set(command.commands["train"].commands) == {"teacher", "student", "qat", "wccn", "sweep", "shards"}  # type: ignore[attr-defined]


def test_recipes_load() -> None:
    from edge_lupi.train.recipe import load_recipe

    recipes = sorted((ROOT / "train").glob("*.toml"))
    assert len(recipes) >= 3
    assert [load_recipe(path).name for path in recipes] == [path.stem for path in recipes]


def test_arms_load() -> None:
    from edge_lupi.train.sweep.plan import load_plan

    with_arms = [path for path in sorted((ROOT / "train").glob("*.toml")) if "[arms." in path.read_text()]
    assert len(with_arms) >= 2
    assert all(load_plan(path).arms for path in with_arms)
