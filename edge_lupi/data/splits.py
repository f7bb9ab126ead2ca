"""Corpus -> Split(train, validation, test), with no voice on two sides.

split(ravdess, "fold0", validation_speakers=0.2)     # a split the corpus names; the rest trains
split(librispeech, "held_out")                       # where the corpus names `train`, only that trains
split(ravdess, ("actor_17", "actor_18"))             # these speakers
split(recordings, 0.25, seed=1)                      # a quarter of the speakers, drawn by the seed

A split is named as people do: `Train`, `dev`, `val` and `eval` are the train, validation and test that they mean.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from edge_lupi.data.utterance import Corpus, Utterance
from edge_lupi.errors import InputError

__all__ = ["Split", "refuse_shared_speakers", "split", "split_name", "told_of"]

Utterances = tuple[Utterance, ...]
SHOWN = 5  # of a long list of names, in a message
SPELLINGS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "development"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_USUAL = {spelling: name for name, spellings in SPELLINGS.items() for spelling in spellings}


@dataclass(frozen=True)
class Split:
    """Lists without a common utterance. `speaker_dependent` must be said wherever a figure from it is printed.

    `unlabelled` train too, but nobody tells their labels.
    """

    train: Utterances
    validation: Utterances
    test: Utterances
    speaker_dependent: bool = False
    unlabelled: Utterances = ()


def split(
    corpus: Corpus,
    test: str | float | Collection[str],
    *,
    validation_speakers: float = 0.0,
    labelled_speakers: float = 1.0,
    seed: int = 0,
    speaker_dependent: bool = False,
    least_validation: int = 1,
) -> Split:
    """Train, validation and test of a corpus: `test` is a split's name, names of speakers (of none: all train), or a share of the speakers.

    `validation_speakers` takes that share of the training speakers away as validation, and `least_validation` of them where
    twice as many train on; of the others all but a share of
    `labelled_speakers` lose their labels. With `speaker_dependent` (or a corpus that is) shares are of utterances and voices
    may be on both sides; the result says so.
    """
    dependent = speaker_dependent or corpus.speaker_dependent
    train, validation, tested = _sides(corpus, test, seed, dependent)
    if validation_speakers:
        if validation:
            raise InputError(
                f"expected no share of validation speakers, as {corpus.name} names its validation: leave it out"
            )
        train, validation = _drawn(train, validation_speakers, seed, dependent, least=least_validation)
    unlabelled: Utterances = ()
    if labelled_speakers < 1:
        unlabelled, train = _drawn(train, labelled_speakers, seed, dependent)
    nobody = not isinstance(test, (str, int, float)) and not test  # on purpose
    for name, side in (("training", train), ("test", tested)):
        if not side and not (nobody and name == "test"):
            raise InputError(f"expected utterances for {name} in {corpus.name}, got none: choose another test")
    for side in (validation, tested):
        refuse_shared_speakers((*train, *unlabelled), side, speaker_dependent=dependent)
    refuse_shared_speakers(validation, tested, speaker_dependent=dependent)
    return Split(train, validation, tested, dependent, unlabelled)


def split_name(word: str) -> str:
    """train, validation or test, however it is spelt; another name, as of a fold, as it is."""
    return _USUAL.get(word.strip().casefold(), word)


def told_of(corpus: Corpus, parts: Split) -> str:
    """How many utterances serve what, and how many nothing, for people."""
    sides = {
        "train": parts.train,
        "train without their labels": parts.unlabelled,
        "validate": parts.validation,
        "are held out to test": parts.test,
    }
    used = {id(utterance) for side in sides.values() for utterance in side}
    idle = [utterance for utterance in corpus.utterances if id(utterance) not in used]
    words = [f"{len(side)} {what}" for what, side in sides.items() if side]
    if idle:
        splits = sorted({utterance.split or "none" for utterance in idle})
        words.append(f"{len(idle)} are not used (of split {_some(splits)})")
    return f"{len(corpus)} utterances: {', '.join(words)}"


def refuse_shared_speakers(
    train: Iterable[Utterance], test: Iterable[Utterance], *, speaker_dependent: bool = False
) -> None:
    """Raise when a voice is on both sides, or when that cannot be known; `speaker_dependent` lets both pass."""
    if speaker_dependent:
        return
    shared = sorted(_speakers(train) & _speakers(test))
    if shared:
        raise InputError(
            f"expected no speaker in both training and test, got {len(shared)} ({_some(shared)}): "
            "split by speaker, or call the figures speaker dependent"
        )


def _sides(
    corpus: Corpus, test: str | float | Collection[str], seed: int, dependent: bool
) -> tuple[Utterances, Utterances, Utterances]:
    if isinstance(test, str):
        return _named(corpus, test)
    if isinstance(test, (int, float)):
        train, tested = _drawn(corpus.utterances, test, seed, dependent)
        return train, (), tested
    unknown = sorted(set(test) - set(corpus.speakers))
    if unknown:
        raise InputError(
            f"expected speakers of {corpus.name} ({_some(corpus.speakers)}), got {_some(unknown)}: correct the names"
        )
    left: Utterances = corpus.utterances
    validation: Utterances = ()
    if not test:  # everybody trains, but for the validation that the corpus itself names
        left, validation = _divided(left, [u.split == "validation" for u in left])
    train, tested = _divided(left, [u.speaker in set(test) for u in left])
    return train, validation, tested


def _named(corpus: Corpus, test: str) -> tuple[Utterances, Utterances, Utterances]:
    """By the corpus's own column: where it names `train`, that; otherwise all but test and validation."""
    test = split_name(test)
    names = sorted({u.split for u in corpus.utterances if u.split is not None})
    if test not in names or test == "train":
        raise InputError(
            f"expected a split of {corpus.name} to test on ({_some(names) or 'it names none'}), got {test!r}: choose one, or a share of the speakers"
        )
    without = [u.name for u in corpus.utterances if u.split is None]
    if without:
        raise InputError(
            f"expected a split for every utterance of {corpus.name}, got {len(without)} without ({_some(without)}): name theirs too"
        )
    held = {"validation", test}
    training = {"train"} if "train" in names else set(names) - held
    train = tuple(u for u in corpus.utterances if u.split in training)
    validation = tuple(u for u in corpus.utterances if u.split == "validation" and test != "validation")
    return train, validation, tuple(u for u in corpus.utterances if u.split == test)


def _drawn(
    utterances: Utterances, share: float, seed: int, dependent: bool, *, least: int = 1
) -> tuple[Utterances, Utterances]:
    """(the rest, a share): of the speakers, or of the utterances themselves where voices may be shared."""
    if not 0 < share < 1:
        raise InputError(f"expected a share between 0 and 1, got {share}")
    keys = [u.name if dependent else _speaker(u) for u in utterances]
    ranked = sorted(set(keys), key=lambda key: hashlib.sha256(f"{seed}/{key}".encode()).digest())
    if len(ranked) < 2:
        raise InputError(
            f"expected at least two speakers to divide, got {_some(ranked) or 'none'}: bring more, or call the figures speaker dependent"
        )
    least = least if len(ranked) >= 3 * least else 1
    drawn = set(ranked[: min(max(least, round(share * len(ranked))), len(ranked) - 1)])
    return _divided(utterances, [key in drawn for key in keys])


def _divided(utterances: Utterances, taken: Sequence[bool]) -> tuple[Utterances, Utterances]:
    pairs = list(zip(utterances, taken, strict=True))
    return tuple(u for u, out in pairs if not out), tuple(u for u, out in pairs if out)


def _speakers(utterances: Iterable[Utterance]) -> set[str]:
    return {_speaker(utterance) for utterance in utterances}


def _speaker(utterance: Utterance) -> str:
    if utterance.speaker is None:
        raise InputError(
            f"expected to know who speaks in {utterance.name}, got no speaker: name the speakers, or call the figures speaker dependent"
        )
    return utterance.speaker


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (" ..." if len(names) > SHOWN else "")
