"""What voices were so far, live: a compiled student that asks for it, on real speech; and what `enroll` keeps of it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edge_lupi.bundle.bundle import Bundle, shipped_bundle
from edge_lupi.compile.student import compile_student
from edge_lupi.errors import InputError
from edge_lupi.models.files import load_student, save_student
from edge_lupi.models.student import Student
from edge_lupi.runtime.compiled_student import Branch, CompiledStudent
from edge_lupi.runtime.enrolment.enrolment import enroll
from edge_lupi.runtime.enrolment.usual import usual_voice
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.runtime.segments import Segment
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.sources.files import SoundFile
from edge_lupi.runtime.speakers.averages import MOST_CLIPS, TRUSTED_CLIPS, VoiceSoFar
from edge_lupi.runtime.speakers.gallery import Gallery
from edge_lupi.runtime.trackers.label import LabelTracker, Smoothing
from edge_lupi.runtime.trackers.voice import CLIP_SECONDS, Voices
from edge_lupi.sound.audio import read_audio

TWO_VOICES = Path(__file__).resolve().parents[3] / "examples" / "two_voices.flac"
ALWAYS = Smoothing(sure=0.0)


@pytest.fixture(scope="module")
def bundle(mood_chain: Any, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny student of moods as one that asks for the voice's own average, with a prior of two clips."""
    folder = tmp_path_factory.mktemp("voice")
    trained = load_student(mood_chain.folder / "student.pt")
    config = trained.student.config
    asking = Student(replace(config, tasks=(replace(config.tasks[0], voice=2.0),)))
    asking.load_state_dict(trained.student.state_dict(), strict=False)
    save_student(folder / "student.pt", replace(trained, student=asking.eval()))
    compile_student(folder / "student.pt", folder / "mood.lupi")
    return Bundle.load(folder / "mood.lupi")


@pytest.fixture(scope="module")
def branch(bundle: Bundle) -> Branch:
    return CompiledStudent(bundle).branches["mood"]


def embeddings(seed: int, count: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 1, 128)).astype(np.float32)


def said(tracker: LabelTracker, start: float, spoken: np.ndarray) -> list[float]:
    """Probabilities of what a tracker tells of segments one after the other."""
    found = []
    for place, embedding in enumerate(spoken):
        begin = start + 0.25 * place
        (finding,) = tracker.speech(
            Segment(np.zeros((80, 1, 50), np.float32), begin, begin + 0.5, 1.0, -20.0), embedding
        )
        found.append(finding.probability or 0.0)
    return found


def alone(branch: Branch, spoken: np.ndarray, voice: VoiceSoFar | None = None) -> tuple[list[float], np.ndarray]:
    """The same straight from the graph, and the utterance embedding [D]."""
    state = branch.initial_state()
    if voice is not None:
        voice.put_into(state)
    found = []
    for embedding in spoken:
        step = branch.step(embedding, state)
        state = step.state
        assert step.scores is not None
        found.append(float(torch.from_numpy(step.scores[0] / branch.task.temperature).softmax(0).max()))
    return found, step.embedding[0]


def test_an_average_counts_in_clips_and_fades() -> None:
    voices = Voices()
    assert voices.now is None
    voices.hear(np.array([1.0, 0.0]), CLIP_SECONDS)
    voices.hear(np.array([4.0, 3.0]), 2 * CLIP_SECONDS)
    assert voices.now is not None
    assert voices.now.clips == pytest.approx(3)
    np.testing.assert_allclose(voices.now.mean, [3.0, 2.0])
    for _ in range(1000):
        voices.hear(np.array([-1.0, -1.0]), CLIP_SECONDS)
    assert voices.now.clips == MOST_CLIPS
    np.testing.assert_allclose(voices.now.mean, [-1.0, -1.0], atol=1e-3)


def test_an_average_of_much_is_trusted_as_one_of_little(branch: Branch) -> None:
    much, little = branch.initial_state(), branch.initial_state()
    VoiceSoFar(MOST_CLIPS, np.ones(128, np.float32)).put_into(much)
    VoiceSoFar(TRUSTED_CLIPS, np.ones(128, np.float32)).put_into(little)
    np.testing.assert_array_equal(much, little)


def test_a_bundle_says_that_it_asks(bundle: Bundle, branch: Branch) -> None:
    assert bundle.task().voice == 2.0
    assert branch.state_size == (1 + 2 * 128) + (1 + 128)
    assert "mood (classification, beside what a voice was so far): bright, plain" in bundle.files["CARD.md"].decode()
    assert Bundle.load(shipped_bundle("speaker")).task().voice == 0.0


def test_what_is_over_joins_the_average(branch: Branch) -> None:
    tracker, first, second = LabelTracker(branch, branch.task, ALWAYS), embeddings(1), embeddings(2)
    probabilities, utterance = alone(branch, first)
    assert said(tracker, 0.0, first) == pytest.approx(probabilities, abs=1e-5)  # not beside themselves
    beside, _ = alone(branch, second, VoiceSoFar(1.0 / CLIP_SECONDS, utterance))
    assert said(tracker, 3.0, second) == pytest.approx(beside, abs=1e-5)
    assert beside != pytest.approx(alone(branch, second)[0], abs=1e-4)


def test_every_person_has_one_of_their_own(branch: Branch) -> None:
    anna = VoiceSoFar(4.0, np.full(128, 2.0, np.float32))
    voices = Voices({"anna": anna})
    tracker, spoken = LabelTracker(branch, branch.task, ALWAYS, voices), embeddings(3)
    voices.speaking = "bert"
    assert said(tracker, 0.0, spoken) == pytest.approx(alone(branch, spoken)[0], abs=1e-5)
    voices.speaking = "anna"  # while he has hardly ended
    assert said(tracker, 1.0, spoken) == pytest.approx(alone(branch, spoken, anna)[0], abs=1e-5)
    voices.speaking = "bert"
    tracker.finish()
    assert voices.now is None  # what nobody ended was nobody's


def test_who_is_told_of_late_goes_on(branch: Branch) -> None:
    anna = VoiceSoFar(4.0, np.full(128, 2.0, np.float32))
    voices = Voices({"anna": anna})
    tracker, spoken = LabelTracker(branch, branch.task, ALWAYS, voices), embeddings(4, 4)
    said(tracker, 0.0, spoken[:2])
    voices.speaking = "anna"
    assert said(tracker, 0.5, spoken[2:]) == pytest.approx(alone(branch, spoken, anna)[0][2:], abs=1e-5)


def blocks(samples: np.ndarray) -> Iterator[Block]:
    for start in range(0, len(samples), 1600):
        yield Block(samples[start : start + 1600], 0.0)


def test_enrolment_keeps_how_somebody_sounds_and_listen_goes_on_from_it(bundle: Bundle, tmp_path: Path) -> None:
    speaker, store = Bundle.load(shipped_bundle("speaker")), tmp_path / "people.json"
    talk = read_audio(TWO_VOICES)[: 16_000 * 6]
    enroll("anna", speaker, store, [SoundFile(TWO_VOICES)], force=True, emotion=bundle)
    known = Gallery.load(store)
    assert known.averages(bundle.fingerprint)["anna"].clips > 1
    assert not known.averages("of another student")
    assert not list(tmp_path.glob("*/*"))  # no sound was kept

    def told(gallery: Gallery) -> list[float]:
        listener = Listener([speaker, bundle], ["speaker", "mood"], gallery, gate="energy")
        return [event.probability or 0.0 for event in listener.listen(blocks(talk)) if event.task == "mood"]

    without = Gallery.load(store)
    without._averages = without._averages.only([])
    first, second = told(known), told(without)
    assert len(first) == len(second) > 4
    assert first[0] == pytest.approx(second[0])  # nobody knows yet who speaks
    assert first != pytest.approx(second, abs=1e-4)


def test_nothing_is_kept_for_a_bundle_that_does_not_ask() -> None:
    assert usual_voice(Bundle.load(shipped_bundle("speaker")), [read_audio(TWO_VOICES)]) is None


def store(path: Path) -> Gallery:
    gallery = Gallery(path, "speakers")
    for name in ("anna", "bert"):
        gallery.add(name, np.eye(1, 8, dtype=np.float32))
        gallery.sounds(name, "moods", VoiceSoFar(3.5, np.arange(4, dtype=np.float32)))
    gallery.save()
    return gallery


def test_a_store_keeps_averages_and_is_read_without(tmp_path: Path) -> None:
    path = tmp_path / "people.json"
    store(path)
    again = Gallery.load(path).averages("moods")
    assert (sorted(again), again["anna"].clips) == (["anna", "bert"], 3.5)
    np.testing.assert_array_equal(again["anna"].mean, np.arange(4))
    content = json.loads(path.read_text())
    assert content["version"] == 2  # an edge-lupi that knows nothing of them reads the rest
    del content["averages"]
    path.write_text(json.dumps(content))
    assert not Gallery.load(path).averages("moods")
    assert Gallery.load(path).names == ["anna", "bert"]


def test_averages_go_where_people_go(tmp_path: Path) -> None:
    gallery = store(tmp_path / "people.json")
    alone = gallery.only(["bert"], tmp_path / "bert.json")
    alone.save()
    other = Gallery(tmp_path / "other.json", "speakers")
    other.take(Gallery.load(alone.path), renamed={"bert": "robert"})
    assert list(other.averages("moods")) == ["robert"]
    gallery.remove("anna")
    gallery.save()
    assert list(Gallery.load(gallery.path).averages("moods")) == ["bert"]
    gallery.sounds("bert", "newer moods", VoiceSoFar(1.0, np.ones(3, np.float32)))
    assert not gallery.averages("moods")


@pytest.mark.parametrize(
    "averages",
    [
        [],
        {"student": 7, "voices": {}},
        {"student": "moods", "voices": {"anna": [1.0, "AAAA"]}},
        {"student": "moods", "voices": {"anna": [-1.0, "AACAPw=="]}},
        {"student": "moods", "voices": {"anna": [1.0, "AADAfw=="]}},
        {"student": "moods", "voices": {"anna": [1.0]}},
        {"student": "moods", "voices": {"anna": [1e300, "AACAPw=="]}},
        {"voices": {}},
    ],
)
def test_hostile_averages_are_one_sentence(tmp_path: Path, averages: Any) -> None:
    path = tmp_path / "people.json"
    store(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "averages": averages}))
    with pytest.raises(InputError, match="is not a readable store of speakers"):
        Gallery.load(path)
