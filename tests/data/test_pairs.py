"""Trials of recordings whose speakers are known: every pair, or a sample that is the same every time."""

from pathlib import Path

import pytest

from edge_lupi.data.pairs import pairs_of
from edge_lupi.data.readers.corpora import read_corpus
from edge_lupi.data.utterance import Utterance
from edge_lupi.errors import InputError


def recordings(*counts: int) -> list[Utterance]:
    return [
        Utterance(f"{speaker}/{take}", Path(f"{speaker}/{take}.wav"), str(speaker), str(speaker))
        for speaker, count in enumerate(counts)
        for take in range(count)
    ]


def test_every_pair_of_a_few() -> None:
    found = pairs_of(recordings(3, 2, 1))
    assert len(found.trials) == found.possible == 15
    assert sum(trial.target for trial in found.trials) == 4
    assert all(trial.target == (trial.enrol.parent == trial.test.parent) for trial in found.trials)
    assert found.text() == "15 trials of 3 speakers' recordings, every pair"


def test_a_sample_of_many() -> None:
    utterances = recordings(*[30] * 20)
    found = pairs_of(utterances, most=1000)
    assert found == pairs_of(utterances, most=1000)
    assert found != pairs_of(utterances, most=1000, seed=1)
    assert (len(set(found.trials)), sum(trial.target for trial in found.trials)) == (1000, 500)
    assert all(trial.target == (trial.enrol.parent == trial.test.parent) for trial in found.trials)
    assert all(trial.enrol != trial.test for trial in found.trials)
    assert found.text() == "1000 trials of 20 speakers' recordings, drawn from 179700 pairs"


def test_few_of_one_voice_are_all_taken() -> None:
    found = pairs_of(recordings(*[2] * 60), most=400)
    assert (len(set(found.trials)), sum(trial.target for trial in found.trials)) == (400, 60)


def test_what_makes_no_trials() -> None:
    for utterances in (recordings(5), recordings(1, 1, 1)):
        with pytest.raises(InputError, match="expected recordings of two speakers, two of one at least"):
            pairs_of(utterances)
    part = Utterance("a", Path("a.wav"), "a", "a", start_seconds=1.0)
    with pytest.raises(InputError, match="expected whole recordings"):
        pairs_of([*recordings(2, 2), part])


def test_real_recordings_of_actors(data_root: Path) -> None:
    found = pairs_of(read_corpus(data_root / "ravdess_av", task="speaker").utterances)
    assert found.speakers == 24
    assert sum(trial.target for trial in found.trials) == 10_000
    assert found.text() == "20000 trials of 24 speakers' recordings, drawn from 1036080 pairs"
