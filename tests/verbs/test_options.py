"""Options that several verbs share."""

from pathlib import Path

import pytest

from edge_lupi.errors import InputError
from edge_lupi.verbs.options import among_corpora


def test_a_corpus_is_here_or_among_the_corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, corpora = tmp_path / "here", tmp_path / "corpora"
    for folder in (here / "both", corpora / "both", corpora / "known"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.setenv("EDGE_LUPI_DATA", str(corpora))
    assert among_corpora(Path("both")) == Path("both")
    assert among_corpora(Path("known")) == corpora / "known"
    assert among_corpora(Path("nowhere")) == Path("nowhere")
    assert among_corpora(corpora / "known") == corpora / "known"
    assert among_corpora(None) is None
    with pytest.raises(InputError, match="cannot be looked at"):
        among_corpora(Path("n" * 300))
    monkeypatch.delenv("EDGE_LUPI_DATA")
    assert among_corpora(Path("known")) == Path("known")
