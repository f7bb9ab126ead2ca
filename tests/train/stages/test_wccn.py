"""Within-class covariance normalisation: how a voice varies with its surroundings, and a student that leans on it less."""

import copy
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from edge_lupi.errors import InputError, MissingExtra
from edge_lupi.evaluate.trained import student_answerer
from edge_lupi.models.aggregator import AttentiveAggregator
from edge_lupi.models.files import load_student
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.examples.prepared import Prepared
from edge_lupi.train.recipe import AugmentRecipe, DataRecipe, Recipe, SegmentRecipe, WccnRecipe
from edge_lupi.train.sounds.moods import in_another_mood
from edge_lupi.train.stages.wccn import _disturbed, _pieces, normalise_student, wccn

SHIPPED = Path(__file__).resolve().parents[3] / "train" / "students" / "speaker.pt"
DATA = DataRecipe("librispeech_excerpts", "speaker", "held_out", validation_speakers=0.1, sound="samples")
WIRES = AugmentRecipe(wires=1.0, noise_share=0.0, gain_db=0.0)
RECIPE = Recipe(
    "w", DATA, segments=SegmentRecipe(crop_seconds=2.0), augment=WIRES, wccn=WccnRecipe(0.1, seconds=1.5, pieces=2)
)


@pytest.fixture(scope="module")
def prepared(data_root: Path) -> Prepared:
    """Twelve real voices to hear, five to set a threshold by."""
    whole = prepare(replace(RECIPE, data=replace(DATA, root=str(data_root / "librispeech_excerpts"))))
    train = whole.split.train[:12]
    split = replace(whole.split, train=train, validation=whole.split.validation[:5])
    return replace(whole, split=split, classes=tuple(sorted({u.label for u in train})))


def test_a_direction_in_which_voices_vary_counts_less() -> None:
    """Voices differ along both axes; each is smeared along the first, by its surroundings."""
    draw = np.random.default_rng(0)
    voices = np.repeat(np.arange(200), 20)
    vectors = draw.normal(size=(200, 2))[voices] + draw.normal(size=(4000, 2)) * [2.0, 0.1]
    mean, matrix = wccn(vectors.astype(np.float32), voices, 0.01)
    about = (vectors - mean) @ matrix
    own = about - np.stack([np.bincount(voices, about[:, k]) / 20 for k in (0, 1)], 1)[voices]
    smeared, still = own.std(0)
    assert smeared < 3 * still  # twenty times before
    assert np.square(about).sum() == pytest.approx(np.square(vectors - mean).sum(), rel=1e-3)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)
    np.testing.assert_allclose(wccn(vectors.astype(np.float32), voices, 1.0)[1], np.eye(2), atol=1e-6)


def test_the_aggregator_takes_it_in() -> None:
    """Step by step and at once every utterance is turned, and the state stays what it was."""
    torch.manual_seed(0)
    plain = AttentiveAggregator(8)
    turned = copy.deepcopy(plain)
    mean, matrix, embeddings = torch.randn(8), torch.randn(8, 8), torch.randn(3, 5, 8)
    turned.turn(mean, matrix)
    torch.testing.assert_close(turned(embeddings), (plain(embeddings) - mean) @ matrix, atol=1e-5, rtol=1e-4)
    state = torch.zeros(3, plain.state_size)
    (before, same), (after, own) = plain.step(embeddings[:, 0], state), turned.step(embeddings[:, 0], state)
    torch.testing.assert_close(after, (before - mean) @ matrix, atol=1e-5, rtol=1e-4)
    assert torch.equal(same, own)


def test_a_voice_on_the_telephone_is_nearer_to_itself(prepared: Prepared, tmp_path: Path) -> None:
    """Of all by which vectors differ, the share that lies within a voice falls; the grid and the encoder are as they were."""
    path = normalise_student(RECIPE, prepared, SHIPPED, tmp_path)
    assert path == tmp_path / "speaker.wccn.pt"
    before, after = load_student(SHIPPED), load_student(path)
    for name, value in before.student.encoder.state_dict().items():
        assert torch.equal(value, after.student.encoder.state_dict()[name]), name
    assert before.ranges.keys() == after.ranges.keys()
    assert after.provenance.wccn is not None
    assert after.provenance.wccn["heard"] == ["as it is", "wires", "together"]
    assert after.provenance.threshold != before.provenance.threshold
    sounds, voices = _pieces(RECIPE, prepared)
    heard = [*sounds, *_disturbed(sounds, WIRES, 99)]  # other wires than those that it was made with

    def within(trained: object) -> float:
        answer = student_answerer(trained)  # type: ignore[arg-type]
        vectors = np.stack([answer(one, None).embedding for one in heard])
        own = vectors - np.stack([vectors[np.tile(voices, 2) == one].mean(0) for one in np.tile(voices, 2)])
        return float(np.square(own).sum() / np.square(vectors - vectors.mean(0)).sum())

    assert within(after) < 0.95 * within(before)


def test_a_voice_in_another_mood_is_nearer_to_itself(prepared: Prepared, tmp_path: Path) -> None:
    """Pieces in moods that were not heard: their vectors lie nearer to those of the pieces as they were spoken. Or pyworld is asked for."""
    moody = replace(RECIPE, wccn=WccnRecipe(0.1, seconds=1.5, pieces=2, moods=2))
    if not find_spec("pyworld"):
        with pytest.raises(MissingExtra, match="needs pyworld: pip install pyworld"):
            normalise_student(moody, prepared, SHIPPED, tmp_path)
        assert not list(tmp_path.iterdir())
        return
    path = normalise_student(moody, prepared, SHIPPED, tmp_path)
    told = load_student(path).provenance.wccn
    assert told is not None
    assert told["moods"] == 2
    sounds, _ = _pieces(RECIPE, prepared)
    draw = np.random.default_rng(99)
    other = [in_another_mood(one, draw) for one in sounds]

    def nearness(student: Path) -> float:
        answer = student_answerer(load_student(student))
        here, there = (np.stack([answer(one, None).embedding for one in heard]) for heard in (sounds, other))
        cosines = here @ there.T
        return float(np.diag(cosines).mean() - cosines.mean())

    assert nearness(path) > nearness(SHIPPED)


def test_a_recipe_without_surroundings_hears_the_usual_ones(prepared: Prepared, tmp_path: Path) -> None:
    short = replace(RECIPE, augment=AugmentRecipe(), wccn=WccnRecipe(0.5, seconds=1.0, pieces=1))
    told = load_student(normalise_student(short, prepared, SHIPPED, tmp_path)).provenance.wccn
    assert told is not None
    assert told["heard"] == ["as it is", "rooms", "babble", "noises", "wires", "together"]


def test_what_cannot_be_normalised_is_refused(prepared: Prepared, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a student that compares voices for speaker, got .*emotion\.pt"):
        normalise_student(RECIPE, prepared, SHIPPED.with_name("emotion.pt"), tmp_path)
    few = replace(prepared, classes=prepared.classes[:9])
    with pytest.raises(InputError, match="expected at least 10 voices to train on, got 9"):
        normalise_student(RECIPE, few, SHIPPED, tmp_path)
    assert not list(tmp_path.iterdir())
