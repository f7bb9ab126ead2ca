"""What a stranger's file may do: be read, or be refused in one of our own errors. Briefly here, at length by `make fuzz`."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .parsers import Parser, parsers

PARSERS = parsers()
WORDS = [
    b"\0",
    b"\xff",
    b"\x1b",
    b"-1",
    b"1e999",
    b"NaN",
    b"null",
    b"[",
    b"{",
    b'"',
    b"9" * 400,
    b"../x",
    b"[" * 2000,
    b"",
]


def edited(seed: bytes) -> st.SearchStrategy[bytes]:
    """The seed after one to four edits: words put in, bytes left out, bytes replaced."""
    place = st.integers(0, len(seed))
    edits = st.tuples(place, st.integers(0, 40), st.one_of(st.sampled_from(WORDS), st.binary(max_size=8)))

    def apply(made: list[tuple[int, int, bytes]]) -> bytes:
        data = seed
        for begin, length, word in made:
            data = data[:begin] + word + data[begin + length :]
        return data

    return st.lists(edits, min_size=1, max_size=4).map(apply)


@pytest.mark.parametrize("name", PARSERS)
def test_seeds_are_read_and_edits_of_them_refused_in_our_own_words(name: str) -> None:
    parser = PARSERS[name]

    @settings(max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(*(edited(seed) for seed in parser.seeds), st.binary(max_size=200)))
    def survives(data: bytes) -> None:
        parser.survives(data)

    survives()


@pytest.mark.parametrize(
    "name", ["gallery", "RTTM", "trial list", "trial list, gzipped", "golden.npz and other arrays", "recipe"]
)
def test_seeds_are_valid(name: str) -> None:
    for seed in PARSERS[name].seeds:
        PARSERS[name].read(seed)


def test_a_foreign_exception_is_seen() -> None:
    with pytest.raises(json.JSONDecodeError):
        Parser("careless", json.loads, (b"{}",)).survives(b"{")
