"""No voice on two sides, however the corpus is divided, and a flag where there is."""

from pathlib import Path

import pytest

from edge_lupi.data.readers.corpora import read_corpus
from edge_lupi.data.splits import Split, refuse_shared_speakers, split, split_name, told_of
from edge_lupi.data.utterance import Corpus, Utterance
from edge_lupi.errors import InputError


def corpus(*splits: str | None, speakers: int = 10, dependent: bool = False) -> Corpus:
    """`speakers` voices, three utterances each; speaker i is in split i modulo the number of splits."""
    utterances = tuple(
        Utterance(f"{speaker}-{number}", Path(), "a", f"s{speaker}", split=splits[speaker % len(splits)])
        for speaker in range(speakers)
        for number in range(3)
    )
    return Corpus("made", utterances, "none", ("a",), Path(), dependent)


def voices(utterances: tuple[Utterance, ...]) -> set[str | None]:
    return {utterance.speaker for utterance in utterances}


def whole(parts: Split) -> int:
    return len(parts.train) + len(parts.validation) + len(parts.test)


def test_a_fold_is_the_test_and_the_rest_trains() -> None:
    parts = split(corpus("fold0", "fold1", "fold2"), "fold1")
    assert voices(parts.test) == {"s1", "s4", "s7"}
    assert (whole(parts), parts.validation, parts.speaker_dependent) == (30, (), False)


def test_where_train_is_named_only_that_trains() -> None:
    parts = split(corpus("train", "held_out", "validation", "test", "train"), "held_out")
    assert voices(parts.train) == {"s0", "s4", "s5", "s9"}
    assert voices(parts.validation) == {"s2", "s7"}
    assert voices(parts.test) == {"s1", "s6"}
    assert split(corpus("train", "validation"), "validation").validation == ()


def test_splits_are_named_as_people_do() -> None:
    made = corpus("train", "validation", "test", "fold")
    parts = split(made, "Eval", seed=0)
    assert (voices(parts.test), voices(parts.validation)) == ({"s2", "s6"}, {"s1", "s5", "s9"})
    assert told_of(made, parts) == (
        "30 utterances: 9 train, 9 validate, 6 are held out to test, 6 are not used (of split fold)"
    )
    spelt = [split_name(word) for word in ("Train", "training", "dev", "Val", "VALID", "eval", "Test", "fold0", "Fold")]
    assert spelt == ["train"] * 2 + ["validation"] * 3 + ["test"] * 2 + ["fold0", "Fold"]


def test_named_speakers() -> None:
    parts = split(corpus(None), ("s3", "s4"))
    assert voices(parts.test) == {"s3", "s4"}
    assert len(parts.train) == 24


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("share", "count"), [(0.2, 2), (0.01, 1), (0.99, 9)])
def test_a_share_of_the_speakers(seed: int, share: float, count: int) -> None:
    parts = split(corpus(None), share, seed=seed)
    assert len(voices(parts.test)) == count
    assert not voices(parts.test) & voices(parts.train)
    assert split(corpus(None), share, seed=seed) == parts


def test_seeds_draw_others() -> None:
    assert len({frozenset(voices(split(corpus(None), 0.3, seed=seed).test)) for seed in range(10)}) > 5


def test_validation_speakers_leave_the_training() -> None:
    parts = split(corpus("fold0", "fold1"), "fold0", validation_speakers=0.4)
    assert [len(voices(side)) for side in (parts.train, parts.validation, parts.test)] == [3, 2, 5]
    assert len(voices((*parts.train, *parts.validation, *parts.test))) == 10


@pytest.mark.parametrize(("speakers", "kept"), [(5, 1), (6, 2), (8, 2), (40, 4)])
def test_a_small_share_is_two_voices_where_that_leaves_enough(speakers: int, kept: int) -> None:
    parts = split(corpus(None, speakers=speakers), (), validation_speakers=0.1, least_validation=2)
    assert len(voices(parts.validation)) == kept


def test_labels_are_told_of_a_share_of_the_training_speakers() -> None:
    parts = split(corpus("fold0", "fold1"), "fold0", validation_speakers=0.2, labelled_speakers=0.25)
    sides = (parts.train, parts.unlabelled, parts.validation, parts.test)
    assert [len(voices(side)) for side in sides] == [1, 3, 1, 5]
    assert len(voices(tuple(u for side in sides for u in side))) == 10
    assert split(corpus("fold0", "fold1"), "fold0").unlabelled == ()


def test_one_talker_is_divided_by_utterance_and_says_so() -> None:
    parts = split(corpus(None, speakers=1, dependent=True), 0.34)
    assert parts.speaker_dependent
    assert (len(parts.train), len(parts.test)) == (2, 1)
    assert split(corpus(None), 0.5, speaker_dependent=True).speaker_dependent


def test_shared_speakers_are_named() -> None:
    made = corpus(None).utterances
    with pytest.raises(InputError, match=r"10 \(s0, s1, s2, s3, s4 \.\.\.\)"):
        refuse_shared_speakers(made, made)
    refuse_shared_speakers(made, made, speaker_dependent=True)
    refuse_shared_speakers(made[:3], made[3:])


def test_unknown_speakers_are_refused() -> None:
    nobody = Utterance("who", Path(), "a", split="test")
    known = Utterance("me", Path(), "a", "s1", split="train")
    for sides in (([nobody], [known]), ([known], [nobody])):
        with pytest.raises(InputError, match="who speaks in who"):
            refuse_shared_speakers(*sides)
    both = Corpus("made", (nobody, known), "none", ("a",), Path())
    with pytest.raises(InputError, match="who speaks"):
        split(both, "test")
    with pytest.raises(InputError, match="who speaks"):
        split(both, 0.5)
    assert split(both, "test", speaker_dependent=True).test == (nobody,)


def test_a_column_that_shares_a_speaker() -> None:
    pair = tuple(Utterance(name, Path(), "a", "s1", split=name) for name in ("train", "test"))
    with pytest.raises(InputError, match="s1"):
        split(Corpus("made", pair, "none", ("a",), Path()), "test")


@pytest.mark.parametrize(
    ("splits", "test", "validation", "words"),
    [
        (("fold0", "fold1"), "fold7", 0.0, "fold0, fold1"),
        ((None,), "fold0", 0.0, "it names none"),
        (("train", "test"), "train", 0.0, "to test on"),
        (("fold0", None), "fold0", 0.0, "without"),
        (("fold0",), "fold0", 0.0, "for training"),
        ((None,), ("s1", "zoe"), 0.0, "zoe"),
        ((None,), (), 1.5, "share"),
        ((None,), 0.0, 0.0, "share"),
        ((None,), 1.0, 0.0, "share"),
        ((None,), float("nan"), 0.0, "share"),
        ((None,), 0.5, 1.5, "share"),
        (("train", "validation", "test"), "test", 0.2, "validation"),
    ],
)
def test_divisions_that_cannot_be(
    splits: tuple[str | None, ...], test: str | float, validation: float, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        split(corpus(*splits), test, validation_speakers=validation)


def test_one_speaker_cannot_be_divided() -> None:
    with pytest.raises(InputError, match="at least two speakers"):
        split(corpus(None, speakers=1), 0.5)


def test_real_folds(data_root: Path) -> None:
    emotion = read_corpus(data_root / "ravdess_av")
    tested = [split(emotion, f"fold{fold}", validation_speakers=0.2) for fold in range(5)]
    assert sum(len(parts.test) for parts in tested) == 1440
    assert all(len(voices(parts.validation)) == 4 for parts in tested)
    readers = split(read_corpus(data_root / "librispeech_excerpts"), "held_out")
    assert (len(readers.train), len(readers.test)) == (200, 96)


def test_where_nobody_is_held_out_the_corpus_keeps_its_validation() -> None:
    """Everybody else is learnt from, whoever the table would test on, too."""
    rows = [("a", "train"), ("b", "validation"), ("c", "test"), ("d", None)]
    corpus = Corpus(
        "made",
        tuple(Utterance(name, Path(), name, speaker=name, split=side) for name, side in rows),
        "none",
        ("a", "b", "c", "d"),
        Path(),
    )
    parts = split(corpus, ())
    assert [u.name for u in parts.train] == ["a", "c", "d"]
    assert [u.name for u in parts.validation] == ["b"]
    assert parts.test == ()
