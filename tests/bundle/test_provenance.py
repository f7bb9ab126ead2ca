"""Provenance is read from any file that was ever written, and written again without a change."""

import json
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from edge_lupi.bundle.bundle import SHIPPED, Bundle
from edge_lupi.bundle.provenance import UNKNOWN_LICENCE, Provenance
from edge_lupi.models.files import load_student

STUDENTS = Path(__file__).resolve().parents[2] / "train" / "students"


@pytest.mark.parametrize("task", ["speaker", "emotion"])
def test_a_shipped_manifest_says_the_same_after_reading(task: str) -> None:
    training = json.loads((SHIPPED / f"{task}.lupi" / "manifest.json").read_bytes())["training"]
    found = Bundle.load(SHIPPED / f"{task}.lupi").provenance
    assert json.dumps(found.plain()) == json.dumps(training)
    assert found.training_utterances == training["training_utterances"]
    assert found.section("segments") == training["recipe"]["segments"]
    assert load_student(STUDENTS / f"{task}.pt").provenance == found


def test_what_this_version_does_not_know_is_kept() -> None:
    content = {
        "licence": "CC0",
        "begun_from": "another model",
        "started_from": [{"corpus": "a", "training_speakers": ["x"], "sha256": "0" * 64}],
        "branches": {"mood": {"corpus": "b", "weather": [1, 2]}},
    }
    found = Provenance.read(content)
    assert found.more == {"begun_from": "another model"}
    assert found.plain() == {**content, "started_from": content["started_from"]}
    assert (found.of("mood").corpus, found.of("speaker").licence) == ("b", "CC0")
    assert found.licences == {"mood": UNKNOWN_LICENCE}
    assert [training.corpus for training in found.trainings] == [None, "a"]
    assert Provenance.read({}).plain() == {}


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        "somewhere",
        {"corpus": 1},
        {"licence": None},
        {"training_speakers": "alice"},
        {"training_speakers": [1]},
        {"training_utterances": True},
        {"recipe": []},
        {"recipe": {"segments": 3}},
        {"recipe": {"segments": {"trim_db": float("nan")}}},
        {"started_from": [{"corpus": 3}]},
        {"started_from": [{"started_from": []}]},
        {"branches": {}},
        {"branches": {"mood": 3}},
        {"branches": {"mood": {"branches": {"mood": {}}}}},
    ],
)
def test_what_nobody_can_rely_on_is_refused(content: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        Provenance.read(content)


def test_a_trained_student_is_not_changed_but_made_again(make_grid_student: Any) -> None:
    trained = make_grid_student()
    before = trained.student.config
    with pytest.raises(FrozenInstanceError):
        trained.provenance = Provenance()
    tasks = trained.student.config.tasks[::-1]
    other = trained.with_tasks(tasks, Provenance(licence="CC0"))
    assert (trained.student.config, trained.provenance.licence) == (before, "generated")
    assert (other.student.config.tasks, other.provenance.licence) == (tasks, "CC0")
    assert other.student.state_dict().keys() == trained.student.state_dict().keys()
