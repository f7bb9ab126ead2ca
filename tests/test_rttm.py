"""RTTM as the field's tools read it."""

from pathlib import Path

import pytest

from edge_lupi.errors import InputError
from edge_lupi.rttm import Stretch, read_rttm, rttm_line


def test_a_line_has_ten_fields() -> None:
    line = rttm_line(Stretch(0.25, 4.25, "Anna Maria"), "my call")
    assert line == "SPEAKER my_call 1 0.250 4.000 <NA> <NA> Anna_Maria <NA> <NA>"
    for name in ("a\tb\nc", "", "\x1b[2J", "ä ö", " ", "\ud800", "\u2028"):
        line = rttm_line(Stretch(0.25, 4.25, name), name)
        assert len(line.split()) == 10
        assert line.isprintable()
        assert line.encode()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    spoken = [Stretch(0.25, 4.25, "b"), Stretch(4.0, 5.125, "c")]
    (tmp_path / "a.rttm").write_text("\n".join(rttm_line(stretch, "a") for stretch in reversed(spoken)))
    assert read_rttm(tmp_path / "a.rttm") == {"a": spoken}


@pytest.mark.parametrize(
    "line", ["SPEAKER a 1 x 1 <NA> <NA> b", "SPEAKER a 1 0", "SPEAKER a 1 nan 1 <NA> <NA> b <NA> <NA>"]
)
def test_what_is_no_rttm_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.rttm"
    path.write_text(f";; a comment\nLEXEME a 1 0 1 word lex b <NA>\n{line}\n")
    with pytest.raises(InputError, match=r"a\.rttm:3: expected"):
        read_rttm(path)
