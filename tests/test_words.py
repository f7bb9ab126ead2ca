"""A stranger's words reach no folder of ours, no terminal and no script."""

import pytest

from edge_lupi.errors import InputError
from edge_lupi.words import composed, folder_word, json_text, printable


@pytest.mark.parametrize(
    "word", ["", "..", ".", "../x", "/tmp", "a/b", "a b", "-rf", ".git", "a" * 65, "a\n", "ä", "\0"]
)
def test_a_word_that_leads_elsewhere_names_no_folder(word: str) -> None:
    with pytest.raises(InputError, match="expected a fold's name of 1 to 64"):
        folder_word(word, "a fold's name")


def test_a_plain_word_names_a_folder() -> None:
    assert folder_word("fold-0.b_1", "a fold's name") == "fold-0.b_1"


def test_text_for_people_moves_no_cursor() -> None:
    assert printable("Zoë 李雷 می\u200cخواهم") == "Zoë 李雷 می\u200cخواهم"
    assert printable("a\x1b[2J\x07\x9b\n\u202e\udcff") == r"a\x1b[2J\x07\x9b\n\u202e\udcff"


def test_one_name_in_two_spellings_is_one() -> None:
    assert composed("Zoe\u0308") == "Zoë"


def test_json_is_ascii_and_never_nan() -> None:
    assert json_text({"a": "ë\udcff"}) == '{"a": "\\u00eb\\udcff"}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text(float("nan"))
