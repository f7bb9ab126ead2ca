"""Data lies here or inside $EDGE_LUPI_DATA, for recipes as for the command line."""

from pathlib import Path

import pytest

from edge_lupi.data.place import found_data, places_of
from edge_lupi.errors import InputError
from edge_lupi.train.examples.corpus import corpus_of, data_path
from edge_lupi.train.recipe import load_recipe


def test_a_recipes_root_is_found_in_both_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, corpora = tmp_path / "here", tmp_path / "corpora"
    for name in ("here/mine/anna/1.wav", "corpora/theirs/bob/1.wav", "corpora/mine/bob/1.wav"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    recipe = here / "r.toml"
    recipe.write_text('name = "r"\n[data]\nroot = "mine"\ntask = "speaker"\ntest = 0.5\n')
    monkeypatch.chdir(here)
    monkeypatch.setenv("EDGE_LUPI_DATA", str(corpora))
    assert corpus_of(load_recipe(recipe)).labels == ("anna",)
    assert corpus_of(load_recipe(recipe, ["data.root=theirs"])).labels == ("bob",)
    assert data_path("theirs") == found_data("theirs") == corpora / "theirs"
    with pytest.raises(InputError, match=f"at nowhere or {corpora / 'nowhere'}, got nothing there"):
        corpus_of(load_recipe(recipe, ["data.root=nowhere"]))
    monkeypatch.delenv("EDGE_LUPI_DATA")
    assert places_of("theirs") == [Path("theirs")]
    with pytest.raises(InputError, match="at theirs, got nothing there: set EDGE_LUPI_DATA"):
        corpus_of(load_recipe(recipe, ["data.root=theirs"]))


def test_a_licence_is_said_where_nobody_knows_it(tmp_path: Path, data_root: Path) -> None:
    (tmp_path / "mine" / "anna").mkdir(parents=True)
    (tmp_path / "mine" / "anna" / "1.wav").touch()
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        f'name = "r"\n[data]\nroot = "{tmp_path}/mine"\ntask = "speaker"\ntest = 0.5\nlicence = "ours alone"\n'
    )
    assert corpus_of(load_recipe(recipe)).licence == "ours alone"
    with pytest.raises(InputError, match=r"expected no data\.licence for librispeech, whose licence is known"):
        corpus_of(load_recipe(recipe, [f"data.root={data_root / 'librispeech_excerpts'}"]))
