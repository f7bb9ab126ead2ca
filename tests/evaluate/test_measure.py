"""Figures from answers: known ones from made-up answers, and those of the shipped bundles on real speech."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

from edge_lupi.bundle.bundle import shipped_bundle
from edge_lupi.bundle.provenance import Provenance
from edge_lupi.data.readers.corpora import read_corpus
from edge_lupi.data.trials import Trial
from edge_lupi.data.utterance import Utterance
from edge_lupi.errors import InputError
from edge_lupi.evaluate.answers import Answer, Model
from edge_lupi.evaluate.measure import evaluate_classes, evaluate_trials, report
from edge_lupi.evaluate.open import open_model
from edge_lupi.evaluate.reports import ClassReport, TrialReport
from edge_lupi.evaluate.unheard import unheard
from edge_lupi.task import Task

LABELS = ("bright", "plain")
NOWHERE = np.zeros(2, np.float32)
Cli = Callable[..., CompletedProcess[str]]


def says(choice: Callable[[Utterance], str]) -> Callable[..., Answer]:
    """An answerer that says what `choice` picks."""

    def answer(samples: Any, utterance: Utterance | None) -> Answer:
        assert utterance is not None
        return Answer(NOWHERE, np.array([label == choice(utterance) for label in LABELS], np.float32))

    return answer


def test_all_right_and_all_the_same(mood_corpus: Path) -> None:
    utterances = read_corpus(mood_corpus).utterances
    perfect = evaluate_classes(says(lambda u: u.label), utterances, LABELS, "mood")
    assert (perfect.uar.value, perfect.uar.low, perfect.accuracy) == (1, 1, 1)
    assert perfect.confusion.tolist() == [[12, 0], [0, 12]]
    stuck = evaluate_classes(says(lambda u: "plain"), utterances[:6] + utterances[6:18:2], LABELS, "mood")
    assert stuck.uar.value == 0.5
    assert stuck.accuracy == 9 / 12
    assert stuck.confusion.tolist() == [[0, 3], [0, 9]]
    assert "UAR 50.0 % (95 %: " in stuck.text()


def test_other_labels_are_named(mood_corpus: Path) -> None:
    with pytest.raises(InputError, match="expected the labels bright, dark, got also plain"):
        evaluate_classes(says(lambda u: u.label), read_corpus(mood_corpus).utterances, ("bright", "dark"), "mood")


def test_a_model_without_labels_needs_trials(mood_corpus: Path) -> None:
    with pytest.raises(InputError, match="give trials for task"):
        evaluate_classes(lambda s, u: Answer(NOWHERE, None), read_corpus(mood_corpus).utterances, LABELS, "mood")


@pytest.mark.parametrize(("snr_db", "share"), [(0.0, 1.0), (10.0, 0.1)])
def test_noise_at_a_ratio_the_same_for_every_model(mood_corpus: Path, snr_db: float, share: float) -> None:
    utterances = read_corpus(mood_corpus).utterances[:2]
    heard: dict[float | None, list[Any]] = {None: [], snr_db: []}
    for ratio, kept in heard.items():

        def answer(samples: Any, utterance: Utterance | None, kept: list[Any] = kept) -> Answer:
            kept.append(samples)
            return Answer(NOWHERE, np.zeros(2, np.float32))

        for _ in range(2):
            evaluate_classes(answer, utterances, LABELS, "mood", snr_db=ratio)
    for clean, noisy, again in zip(heard[None][:2], heard[snr_db][:2], heard[snr_db][2:], strict=True):
        assert np.mean((noisy - clean) ** 2) / np.mean(clean**2) == pytest.approx(share, rel=0.05)
        assert np.array_equal(noisy, again)


def test_trials_by_cosine(speaker_chain: Any) -> None:
    files = [[speaker_chain.folder / f"{speaker}_{take}.wav" for take in range(2)] for speaker in range(8)]
    trials = [Trial(a == b, files[a][0], files[b][1]) for a in range(8) for b in range(8)]
    calls: list[int] = []

    def by_loudness(samples: Any, utterance: Utterance | None) -> Answer:
        """One direction per call pair: recordings come sorted, so 2 k and 2 k + 1 are one voice."""
        calls.append(1)
        return Answer(np.eye(8, dtype=np.float32)[(len(calls) - 1) // 2] * len(calls), None)

    found = evaluate_trials(by_loudness, trials, "speaker")
    assert len(calls) == 16  # every recording once
    assert (found.eer.value, found.min_dcf, found.trials, found.targets) == (0, 0, 64, 8)
    turned = [replace(trial, target=not trial.target) for trial in trials]
    calls.clear()
    assert evaluate_trials(by_loudness, turned, "speaker").eer.value == 1


def test_recordings_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"got 2 missing, the first .*a.wav: name as data"):
        evaluate_trials(
            lambda s, u: Answer(NOWHERE, None), [Trial(True, tmp_path / "a.wav", tmp_path / "b.wav")], "speaker"
        )


def test_only_strangers_count(mood_corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = read_corpus(mood_corpus)
    kept, left = unheard(corpus, Provenance(corpus="moods", training_speakers=("voice0", "voice1", "nobody")))
    assert ({u.speaker for u in kept}, left) == ({"voice2", "voice3", "voice4", "voice5"}, 8)
    origin = Provenance(corpus="moods", training_speakers=("voice0",))
    model = Model(says(lambda u: u.label), Task("mood", "classification", LABELS), origin)
    found = report(model, mood_corpus, None)
    assert isinstance(found, ClassReport)
    assert found.confusion.sum() == 20
    assert capsys.readouterr().err.startswith("4 utterances of speakers heard in training are left out")
    everyone = report(model, mood_corpus, None, everyone=True)
    assert isinstance(everyone, ClassReport)
    assert everyone.confusion.sum() == 24
    heard_all = replace(model, origin=replace(origin, training_speakers=corpus.speakers))
    with pytest.raises(InputError, match=r"that training has not heard in .*measure on everyone"):
        report(heard_all, mood_corpus, None)
    with pytest.raises(InputError, match="take another split"):
        report(model, mood_corpus, None, split="fold9")


def test_where_voices_are_shared_no_utterance_is_heard_twice(
    mood_corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = read_corpus(mood_corpus)
    trained = [u.name for u in corpus.utterances[:20]]
    origin = Provenance(
        corpus="moods", speaker_dependent=True, training_names=tuple(trained), training_speakers=corpus.speakers
    )
    kept, left = unheard(corpus, origin)
    assert ([u.name for u in kept], left) == ([u.name for u in corpus.utterances[20:]], 20)
    report(Model(says(lambda u: u.label), Task("mood", "classification", LABELS), origin), mood_corpus, None)
    said = capsys.readouterr().err
    assert "20 utterances heard in training are left out" in said
    assert "speaker dependent" in said


def test_a_folder_of_people_makes_its_own_trials(
    mood_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, utterance in enumerate(read_corpus(mood_corpus).utterances):
        folder = tmp_path / "people" / str(utterance.speaker)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.wav").write_bytes(utterance.audio.read_bytes())
    bundle = open_model(shipped_bundle("speaker"))
    found = report(bundle, tmp_path / "people", None)
    assert isinstance(found, TrialReport)
    assert (found.trials, found.targets) == (24 * 23 // 2, 6 * 6)
    assert capsys.readouterr().err.endswith("276 trials of 6 speakers' recordings, every pair\n")
    heard = Provenance(corpus="people", training_speakers=("voice0", "voice1"))
    found = report(Model(bundle.answer, bundle.task, heard), tmp_path / "people", None)
    assert (found.plain()["trials"], found.plain()["targets"]) == (16 * 15 // 2, 4 * 6)
    everybody = Provenance(corpus="people", training_speakers=tuple(f"voice{n}" for n in range(6)))
    with pytest.raises(InputError, match="expected utterances that training has not heard"):
        report(Model(bundle.answer, bundle.task, everybody), tmp_path / "people", None)


def test_a_pattern_says_who_speaks(mood_corpus: Path, tmp_path: Path) -> None:
    for number, utterance in enumerate(read_corpus(mood_corpus).utterances):
        name = f"{utterance.label}/{utterance.speaker}-{number}.wav"
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(utterance.audio.read_bytes())
    origin = Provenance(corpus=tmp_path.name, training_speakers=("voice0",))
    model = Model(says(lambda u: u.label), Task("mood", "classification", LABELS), origin)
    assert report(model, tmp_path, None).plain()["utterances"] == 24  # nobody knows who speaks
    assert report(model, tmp_path, None, pattern="{label}/{speaker}-*").plain()["utterances"] == 20
    learnt = replace(origin, recipe={"data": {"pattern": "{label}/{speaker}-*"}})  # as training read it
    assert report(replace(model, origin=learnt), tmp_path, None).plain()["utterances"] == 20


@pytest.mark.parametrize("name", ["teacher.pt", "student.pt", "student.int8.pt", "student.lupi", "float.lupi"])
def test_everything_trained_can_be_measured(mood_chain: Any, name: str) -> None:
    model = open_model(mood_chain.folder / name)
    assert (model.task.labels, model.origin.corpus) == (LABELS, "moods")
    assert model.origin.training_speakers == ("voice0", "voice1", "voice2", "voice3")
    found = report(model, mood_chain.corpus, None)
    assert isinstance(found, ClassReport)
    assert found.confusion.sum() == 8


def test_student_and_bundle_give_the_same_figures(mood_chain: Any) -> None:
    student, bundle = (
        report(open_model(mood_chain.folder / name), mood_chain.corpus, None, everyone=True).plain()
        for name in ("student.pt", "float.lupi")
    )
    assert student.pop("ece") == pytest.approx(
        bundle.pop("ece"), abs=1e-5
    )  # probabilities in another library's rounding
    assert student == bundle


def test_a_seeing_teacher_on_trials_is_one_sentence(speaker_chain: Any) -> None:
    model = open_model(speaker_chain.folder / "teacher.pt")
    with pytest.raises(InputError, match="video"):
        report(model, speaker_chain.folder, speaker_chain.folder / "trials.txt")


def test_a_task_that_the_model_does_not_have(mood_chain: Any) -> None:
    with pytest.raises(InputError, match=r"expected a task of .*mood.*got 'digit'"):
        open_model(mood_chain.folder / "student.pt", "digit")


@pytest.mark.real_speech
def test_shipped_speaker_on_voices_it_never_heard(data_root: Path) -> None:
    data = data_root / "librispeech_excerpts"
    found = report(open_model(shipped_bundle("speaker")), data, data / "trials_held_out.txt")
    assert isinstance(found, TrialReport)
    assert found.trials == 2304
    assert found.eer.value < 0.25


@pytest.mark.real_speech
def test_shipped_emotion_on_actors_it_never_heard(data_root: Path) -> None:
    model = open_model(shipped_bundle("emotion"))
    found = report(model, data_root / "ravdess_av", None, split="fold0")
    assert isinstance(found, ClassReport)
    assert len(found.labels) == 8
    assert found.confusion.sum() >= 200
    assert found.uar.value > 0.35  # chance is 0.125


@pytest.mark.real_speech
def test_shipped_emotion_through_the_command_line(data_root: Path, cli: Cli, tmp_path: Path) -> None:
    clips = [u for u in read_corpus(data_root / "ravdess_av").utterances if u.split == "fold0"][::30]
    lines = ["audio,label,speaker", *(f"{clip.audio.resolve()},{clip.label},{clip.speaker}" for clip in clips)]
    (tmp_path / "few.csv").write_text("\n".join(lines) + "\n")
    done = cli("evaluate", shipped_bundle("emotion"), "--data", tmp_path / "few.csv", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["utterances"] == len(clips)
