"""The cosine above which two voices are one, also from recordings shorter than the pieces that it is found on."""

import csv
import shutil
from pathlib import Path

import pytest
import soundfile

from edge_lupi.models.files import load_student
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.recipe import load_recipe
from edge_lupi.train.stages import threshold
from edge_lupi.train.stages.threshold import with_threshold

STUDENT = Path(__file__).resolve().parents[3] / "train" / "students" / "speaker.pt"


def _people(data_root: Path, folder: Path) -> None:
    """EmoDB's ten actors, a folder each, six recordings of two seconds."""
    heard: dict[str, int] = {}
    with (data_root / "emodb" / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            heard[row["speaker"]] = heard.get(row["speaker"], 0) + 1
            if heard[row["speaker"]] <= 6:
                place = folder / row["speaker"]
                place.mkdir(parents=True, exist_ok=True)
                samples, rate = soundfile.read(data_root / "emodb" / row["audio"])
                assert len(samples) == 2 * rate
                soundfile.write(place / f"{heard[row['speaker']]}.wav", samples, rate)


def _recipe(tmp_path: Path, validation: float) -> Path:
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        f'name = "r"\n[data]\nroot = "{tmp_path}/people"\ntask = "speaker"\ntest = 0.2\nvalidation_speakers = {validation}\n'
    )
    return recipe


def test_short_recordings_of_a_voice_are_joined(
    data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two of them make a piece of three seconds; and of how many voices the threshold is, is said."""
    _people(data_root, tmp_path / "people")
    recipe = _recipe(tmp_path, 0.5)
    prepared = prepare(load_recipe(recipe))
    before = load_student(STUDENT)
    trained = with_threshold(before, load_recipe(recipe), prepared)
    assert trained.provenance.threshold["pieces"] == 3 * 4  # four speakers validate, six recordings each
    assert before.student.config.tasks[0].threshold != trained.student.config.tasks[0].threshold
    assert before.provenance.threshold != trained.provenance.threshold, "what was given stays as it was"
    threshold = trained.student.config.tasks[0].threshold
    assert threshold is not None
    assert 0.2 < threshold < 0.9
    assert f"threshold {threshold:.3f}, set by 12 pieces of 4 voices; few set it badly" in capsys.readouterr().err


def test_of_few_people_two_are_kept_to_set_a_threshold(data_root: Path, tmp_path: Path) -> None:
    """A tenth of eight is one voice, and one makes no pair of strangers."""
    _people(data_root, tmp_path / "people")
    prepared = prepare(load_recipe(_recipe(tmp_path, 0.1)))
    assert [len({u.label for u in side}) for side in (prepared.split.train, prepared.split.validation)] == [6, 2]


def test_one_voice_sets_no_threshold_and_it_is_said_what_to_do(
    data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of fewer than six in training nobody is taken away for it; that is said before anything is trained."""
    _people(data_root, tmp_path / "people")
    for place in sorted((tmp_path / "people").iterdir())[5:]:
        shutil.rmtree(place)
    recipe = load_recipe(_recipe(tmp_path, 0.1))
    prepared = prepare(recipe)
    early = "no threshold will be set, as that takes two voices that are kept for validation: raise data.validation_speakers"
    assert early in capsys.readouterr().err
    trained = with_threshold(load_student(STUDENT), recipe, prepared)
    assert trained.provenance == load_student(STUDENT).provenance
    said = capsys.readouterr().err
    assert "of 1 voices: raise data.validation_speakers, or set it with edge-lupi calibrate" in said


def test_few_strangers_are_taken_for_somebody(data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where as many errors of both kinds would take in more strangers than 2 %, the threshold is the stricter one."""
    _people(data_root, tmp_path / "people")
    recipe, student = load_recipe(_recipe(tmp_path, 0.5)), load_student(STUDENT)
    found = {}
    for most in (0.5, 0.02):
        monkeypatch.setattr(threshold, "MOST_FALSE_ACCEPTS", most)
        found[most] = with_threshold(student, recipe, prepare(recipe)).student.config.tasks[0].threshold
    assert found[0.02] > found[0.5], (
        "of four people who act, more than 2 % of the pairs are alike where the errors are even"
    )
