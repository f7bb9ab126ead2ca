import pytest

from edge_lupi.errors import InputError
from edge_lupi.runtime.speakers.names import checked_name

ZWNJ, ZWJ = "\u200c", "\u200d"


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("Zoe\u0308", "Zo\xeb"),
        ("\u1112\u1161\u11ab", "\ud55c"),  # Hangul: letters that are one syllable
        (f"علی{ZWNJ}رضا", f"علی{ZWNJ}رضا"),
        (f"क्{ZWJ}ष", f"क्{ZWJ}ष"),
        ("O'Neil-Smith 2", "O'Neil-Smith 2"),
    ],
)
def test_a_name_has_one_spelling(typed: str, name: str) -> None:
    assert checked_name(typed) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        " a",
        "a\u3000",
        "a\nb",
        "a\x00",
        "a\x9b2J",
        "a\u202eb",
        "a\u2066b",
        "a\u200bb",
        "a\ufeff",
        "\udce9",
        "\ue000",
        f"a{ZWJ}",
        f"{ZWNJ}a",
        f"a{ZWJ}{ZWJ}b",
        f"1{ZWJ}2",
        "x" * 61,
        "Unknown",
        "speaker 12",
        "ｕｎｋｎｏｗｎ",
        "speaker\xa01",
    ],
    ids=ascii,
)
def test_what_would_hide_or_confuse_is_no_name(name: str) -> None:
    with pytest.raises(InputError, match="expected a name of 1 to 60") as caught:
        checked_name(name)
    assert str(caught.value).isprintable()
