"""Files of a training where nothing can be written: one sentence, for the command line with the flag to type."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_lupi.errors import InputError
from edge_lupi.train.examples.keep import keep, keeping


def test_what_cannot_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "run" / "history.json"
    with pytest.raises(InputError, match=r"could not write .*: free some space or choose another folder$") as caught:
        keep(place, b"{}")
    assert caught.value.options == ("out",)
    with pytest.raises(InputError, match="could not write"), keeping(tmp_path):
        (tmp_path / "file").mkdir()
