"""What an utterance, its video and a corpus refuse to be."""

from pathlib import Path

import pytest

from edge_lupi.data.utterance import Corpus, Utterance, Video
from edge_lupi.errors import InputError

ONE = Utterance("one", Path("one.wav"), "happy", speaker="alice")


def test_a_corpus_knows_its_speakers() -> None:
    nobody = Utterance("two", Path("two.wav"), "sad")
    corpus = Corpus("mine", (ONE, nobody), "mine", ("happy", "sad"), Path())
    assert corpus.speakers == ("alice",)
    assert len(corpus) == 2
    assert not corpus.speaker_dependent


@pytest.mark.parametrize(("utterances", "labels"), [((), ("happy",)), ((ONE,), ("sad",)), ((ONE,), ("happy", "happy"))])
def test_a_corpus_that_contradicts_itself(utterances: tuple[Utterance, ...], labels: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="expected"):
        Corpus("mine", utterances, "mine", labels, Path())


def test_a_video_is_features_or_a_path() -> None:
    assert Video(path=Path("a.MP4")).is_raw
    assert not Video(path=Path("a.npy")).is_raw
    assert not Video(features=(0.5, 1.0)).is_raw
    for wrong in (
        {},
        {"features": (1.0,), "path": Path("a.mp4")},
        {"features": ()},
        {"features": (float("nan"),)},
        {"path": Path("a.npy"), "frames_per_second": 0},
    ):
        with pytest.raises(InputError, match="expected"):
            Video(**wrong)
