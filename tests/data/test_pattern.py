"""File names read by a pattern: what fits, what does not, and never longer than a path is long."""

import time

import pytest

from edge_lupi.data.pattern import Pattern
from edge_lupi.errors import InputError


@pytest.mark.parametrize(
    ("pattern", "path", "found"),
    [
        ("{speaker}/*", "anna/monday", {"speaker": "anna"}),
        ("{speaker}/*", "anna/monday/1", None),
        ("{speaker}/{label}/*", "anna/happy/1", {"speaker": "anna", "label": "happy"}),
        ("{label}/{speaker}_*", "happy/anna_1_2", {"speaker": "anna", "label": "happy"}),
        ("{speaker}_{label}_*", "anna_very_happy", {"speaker": "anna", "label": "very"}),
        ("{speaker}_{label}", "anna_very_happy", {"speaker": "anna", "label": "very_happy"}),
        ("{speaker}-mic", "a-mic-mic", {"speaker": "a-mic"}),
        ("{speaker}_{label}", "_happy", None),  # nobody
        ("{speaker}_{label}", "anna", None),
        ("x_{speaker}_?", "x_anna_12", None),
        ("{speaker:2}???{label:1}*", "03a01Fa", {"speaker": "03", "label": "F"}),  # as EmoDB calls its files
        ("{speaker:2}???{label:1}*", "03a01", None),
        ("*_{speaker}", "_anna", {"speaker": "anna"}),
        ("{speaker}/*", "Zoe\u0308/1", {"speaker": "Zo\u00eb"}),  # as a Mac spells her
        ("Zo\u00eb_{label}", "Zoe\u0308_sad", {"label": "sad"}),
    ],
)
def test_what_a_path_tells(pattern: str, path: str, found: dict[str, str] | None) -> None:
    assert Pattern(pattern).read(path) == found


@pytest.mark.parametrize(
    "pattern",
    [
        *("", "*/*", "a" * 201, "{speaker}{label}", "*{label}", "{speaker}_{speaker}", "{voice}_*", "{label"),
        *("{label:0}", "{speaker}//*", "/{speaker}", "a/b/c/d/e/f/g/h/{label}"),
    ],
)
def test_a_pattern_that_can_be_read_in_two_ways_or_none_is_refused(pattern: str) -> None:
    with pytest.raises(InputError, match=r"expected a pattern .*: write one such as \{speaker\}/\{label\}_\*"):
        Pattern(pattern)


def test_a_path_is_read_once() -> None:
    """A regular expression of these wildcards would go back and forth for years."""
    pattern, path = Pattern("*a" * 90 + "{label}b"), "a" * 20_000
    began = time.process_time()
    assert pattern.read(path) is None
    assert time.process_time() - began < 0.5
