"""A temperature found again, on made-up scores, and set by training where the recipe keeps speakers for it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.compile.request import Request
from edge_lupi.compile.targets import compile_for
from edge_lupi.errors import InputError
from edge_lupi.evaluate.measure import report
from edge_lupi.evaluate.open import open_model
from edge_lupi.metrics.confidence import calibration_error, negative_log_likelihood, probabilities_of
from edge_lupi.models.files import load_student
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.recipe import load_recipe
from edge_lupi.train.stages.qat import train_qat
from edge_lupi.train.stages.student import train_student
from edge_lupi.train.stages.temperature import COLDEST, HOTTEST, fit_temperature


def _honest(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores [5000, 4] whose softmax is the probability with which their labels were drawn."""
    draw = np.random.default_rng(seed)
    scores = draw.normal(0, 2, (5000, 4)).astype(np.float32)
    cumulative = probabilities_of(scores).astype(np.float64).cumsum(1)
    return scores, (draw.random((5000, 1)) > cumulative[:, :-1]).sum(1)


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_the_temperature_undoes_a_factor(factor: float) -> None:
    scores, labels = _honest()
    found = fit_temperature(scores * factor, labels)
    assert found == pytest.approx(factor, rel=0.08)
    near = [negative_log_likelihood(scores * factor, labels, t * found) for t in (0.99, 1.0, 1.01)]
    assert near[1] == min(near)
    assert calibration_error(probabilities_of(scores * factor, found), labels) < 0.02


def test_where_no_temperature_is_best_it_stays_finite() -> None:
    scores, _ = _honest()
    assert fit_temperature(scores, scores.argmax(1)) == pytest.approx(COLDEST, rel=0.01)
    assert fit_temperature(scores, scores.argmin(1)) == pytest.approx(HOTTEST, rel=0.01)


def test_training_sets_it_and_compile_passes_it_on(mood_corpus: Path, mood_chain: Any, tmp_path: Path) -> None:
    recipe = load_recipe(mood_chain.recipe, ["data.validation_speakers=0.25", "student.epochs=1"])
    path = train_student(recipe, prepare(recipe), tmp_path)
    trained = load_student(path)
    (task,) = trained.student.config.tasks
    told = trained.provenance.temperature
    assert task.temperature == told["value"] != 1.0
    assert (told["utterances"], told["speakers"]) == (4, 1)
    assert told["nll_after"] <= told["nll_before"]
    compile_for(path, tmp_path / "mood.lupi", Request("cpu", "fp32"))
    assert Bundle.load(tmp_path / "mood.lupi").task().temperature == pytest.approx(task.temperature)
    found = [report(open_model(model), mood_corpus, None) for model in (path, tmp_path / "mood.lupi")]
    assert found[0].plain()["ece"] == pytest.approx(found[1].plain()["ece"], abs=0.02)


def test_a_corpus_that_training_does_not_hear_says_how_sure_to_be(
    mood_chain: Any, tmp_path: Path, voice: Any, sound_file: Any
) -> None:
    """Its labels are the wrong way round here: nothing that is told of it is to be believed."""
    rows = ["audio,label,speaker"]
    for number, name in enumerate(path.stem for path in sorted(mood_chain.corpus.parent.glob("*.wav"))):
        label = "plain" if int(name[-1]) % 2 else "bright"
        sound_file(
            f"far/{name}.wav", voice(number % 6, 1.5) if label == "bright" else np.diff(voice(number % 6, 1.5)) * 3
        )
        rows.append(f"{name}.wav,{label},far{number % 6}")
    rows.append("odd.wav,odd,far0")
    sound_file("far/odd.wav", voice(0, 1.5))
    (tmp_path / "far" / "far.csv").write_text("\n".join(rows) + "\n")
    changes = ["data.validation_speakers=0.25", "student.epochs=3"]
    near = load_recipe(mood_chain.recipe, changes)
    far = load_recipe(mood_chain.recipe, [*changes, f'data.strange=["{tmp_path / "far" / "far.csv"}"]'])
    prepared = prepare(far)
    assert [(name, len(heard)) for name, heard in prepared.strange] == [
        ("far", len(rows) - 2)
    ]  # the odd one is not asked
    trained = [load_student(train_student(r, prepare(r), tmp_path / str(n))) for n, r in enumerate((near, far))]
    heat = [one.student.config.tasks[0].temperature for one in trained]
    told = trained[1].provenance.temperature["alone"]
    assert told["validation"] == heat[0] < heat[1] < told["far"]
    assert trained[1].provenance.corpus == trained[0].provenance.corpus
    with pytest.raises(InputError, match="that training does not hear, got moods"):
        prepare(load_recipe(mood_chain.recipe, [f'data.strange=["{mood_chain.corpus}"]']))


def test_the_int8_student_has_its_own(mood_chain: Any, tmp_path: Path) -> None:
    recipe = load_recipe(mood_chain.recipe, ["data.validation_speakers=0.25", "qat.epochs=0"])
    path = train_qat(recipe, prepare(recipe), mood_chain.folder / "audio_only.pt", tmp_path)
    trained = load_student(path)
    assert trained.student.config.tasks[0].temperature == trained.provenance.temperature["value"] != 1.0


def test_without_validation_speakers_it_stays_one_and_that_is_said(mood_chain: Any) -> None:
    assert load_student(mood_chain.folder / "student.pt").student.config.tasks[0].temperature == 1.0
    assert "no temperature: expected validation speakers" in mood_chain.said["student"][1]
