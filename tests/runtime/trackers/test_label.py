"""Which label is told, and when it changes: on made-up scores, and the shipped emotion bundle on unheard actors."""

from pathlib import Path

import numpy as np
import pytest

from edge_lupi.bundle.bundle import Bundle, shipped_bundle
from edge_lupi.data.readers.corpora import read_corpus
from edge_lupi.data.speech import read_speech
from edge_lupi.errors import BundleError, InputError
from edge_lupi.runtime.compiled_student import Step
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.runtime.segments import Segment
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.trackers.label import UNSURE, LabelTracker, Smoothing
from edge_lupi.runtime.trackers.tracker import Decision
from edge_lupi.task import Task

TASK = Task("emotion", "classification", ("calm", "happy", "sad"))


class LastSegment:
    """An aggregator whose scores are the last embedding; its state counts the segments."""

    def initial_state(self, batch: int = 1) -> np.ndarray:
        return np.zeros((batch, 1), np.float32)

    def step(self, embedding: np.ndarray, state: np.ndarray) -> Step:
        return Step(embedding, state + 1, embedding)


def _track(said: list[list[float] | None], smoothing: Smoothing | None = None, task: Task = TASK) -> list[Decision]:
    """Probabilities of each segment, None where nobody speaks."""
    tracker, findings = LabelTracker(LastSegment(), task, smoothing), list[Decision]()
    for index, probabilities in enumerate(said):
        segment = Segment(np.zeros((80, 1, 100), np.float32), index * 0.5, index * 0.5 + 1.0, 1.0, -20.0)
        if probabilities is None:
            findings += tracker.silence(segment)
        else:
            scores = task.temperature * np.log(np.array([probabilities], np.float32))
            findings += tracker.speech(segment, scores)
    return findings + tracker.finish()


def _labels(findings: list[Decision]) -> list[str]:
    return [finding.label for finding in findings]


ALWAYS = Smoothing(sure=0.0)
CALM, HAPPY, NEARLY_HAPPY = [0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.42, 0.48, 0.1]


def test_the_probability_is_that_of_the_label_at_the_tasks_temperature() -> None:
    (finding,) = _track([CALM], task=Task("emotion", "classification", TASK.labels, temperature=2.5))
    assert (finding.label, finding.score) == ("calm", None)
    assert finding.probability == pytest.approx(0.8)


def test_a_clear_lead_changes_the_label_at_once() -> None:
    assert _labels(_track([CALM, HAPPY], ALWAYS)) == ["calm", "happy"]


def test_a_small_lead_changes_it_once_it_holds_for_two_segments() -> None:
    assert _labels(_track([CALM, NEARLY_HAPPY, CALM], ALWAYS)) == ["calm"] * 3
    findings = _track([CALM, NEARLY_HAPPY, NEARLY_HAPPY], ALWAYS)
    assert _labels(findings) == ["calm", "calm", "happy"]
    assert [round(f.probability, 2) for f in findings if f.probability] == [0.8, 0.42, 0.48]


def test_below_the_level_nothing_is_told_but_how_probable_the_best_is() -> None:
    findings = _track([CALM, [0.45, 0.35, 0.2]])
    assert _labels(findings) == ["calm", UNSURE]
    assert findings[1].probability == pytest.approx(0.45)
    assert _labels(_track([CALM], Smoothing(sure=0.9))) == [UNSURE]


@pytest.mark.parametrize("sure", [-0.1, 1.0, float("nan")])
def test_a_level_is_a_probability(sure: float) -> None:
    with pytest.raises(InputError, match="expected a probability from 0 up to 1"):
        Smoothing(sure=sure)


def test_a_long_pause_begins_anew_and_a_short_one_does_not() -> None:
    assert _labels(_track([CALM, None, NEARLY_HAPPY], ALWAYS)) == ["calm", "calm"]
    assert _labels(_track([CALM, None, None, None, NEARLY_HAPPY], ALWAYS)) == ["calm", "happy"]


def test_scores_that_do_not_fit_the_labels_are_refused() -> None:
    with pytest.raises(BundleError, match="expected 3 scores"):
        _track([[0.5, 0.5]])


def test_unheard_actors(data_root: Path) -> None:
    """Two actors of fold 0, eight clips each: what is told is right more often than what is kept back."""
    bundle = Bundle.load(shipped_bundle("emotion"))
    corpus = read_corpus(data_root / "ravdess_av", task="emotion")
    told: dict[bool, list[bool]] = {True: [], False: []}
    for utterance in [u for u in corpus.utterances if u.speaker in ("actor_02", "actor_05")][::8]:
        samples = read_speech(utterance, 30.0)[0]
        unsmoothed = list(Listener(bundle, "emotion", sure=0.0).listen([Block(samples, 0.0)]))
        events = list(Listener(bundle, "emotion", sure=0.5).listen([Block(samples, 0.0)]))
        assert [event.probability for event in events] == [event.probability for event in unsmoothed]
        if events:
            told[events[-1].label != UNSURE].append(unsmoothed[-1].label == utterance.label)
    assert len(told[True]) >= 3
    assert len(told[False]) >= 3
    assert np.mean(told[True]) > np.mean(told[False])
