"""What is measured on voices that training does not hear, and the epoch that does best there."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from edge_lupi.errors import InputError
from edge_lupi.metrics.verification import eer
from edge_lupi.models.front_end import cut, log_mel
from edge_lupi.models.student import Student, StudentConfig
from edge_lupi.sound.audio import read_audio
from edge_lupi.task import Task
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.examples.prepared import Prepared
from edge_lupi.train.recipe import AugmentRecipe, DataRecipe, Recipe, SegmentRecipe, StudentRecipe
from edge_lupi.train.stages.held_out import Best, held_out
from edge_lupi.train.stages.student import train_student

CPU = torch.device("cpu")
DATA = DataRecipe("librispeech_excerpts", "speaker", "held_out", validation_speakers=0.1)
RECIPE = Recipe(
    "h",
    DATA,
    segments=SegmentRecipe(crop_seconds=2.0),
    student=StudentRecipe(size="pico", epochs=3, batch=8, keep="best"),
    augment=AugmentRecipe(noise_share=0.0),
)


@pytest.fixture(scope="module")
def prepared(data_root: Path) -> Prepared:
    """Eight real voices to train on, five to validate on."""
    whole = prepare(replace(RECIPE, data=replace(DATA, root=str(data_root / "librispeech_excerpts"))))
    train = whole.split.train[:8]
    split = replace(whole.split, train=train, validation=whole.split.validation[:5])
    return replace(whole, split=split, classes=tuple(sorted({u.label for u in train})))


def test_eer_of_pieces(prepared: Prepared) -> None:
    grid = RECIPE.segments.segmentation
    student = Student(StudentConfig("pico", "sequential", grid, (Task("speaker", "verification"),))).eval()
    measure = held_out(RECIPE, prepared.split.validation, CPU)
    assert measure is not None
    vectors, voices = [], []
    for utterance in prepared.split.validation:
        samples = torch.from_numpy(read_audio(utterance.audio))
        for start in range(0, len(samples) - 48000 + 1, 48000):
            frames = log_mel(samples[None, start : start + 48000])
            with torch.no_grad():
                vectors.append(F.normalize(student(cut(frames, grid)).utterance)[0].double().numpy())
            voices.append(utterance.label)
    first, second = np.triu_indices(len(voices), 1)
    same = np.array(voices)[first] == np.array(voices)[second]
    wanted = eer((np.array(vectors) @ np.array(vectors).T)[first, second], same).value
    found = measure(student.train(), [])
    assert found.keys() == {"held-out EER"}
    assert found["held-out EER"] == pytest.approx(wanted, abs=0.02)
    assert student.training


def test_nobody_held_out() -> None:
    assert held_out(RECIPE, (), CPU) is None


def test_the_best_epoch_is_kept(tmp_path: Path) -> None:
    best, student = Best(tmp_path / "x.best"), torch.nn.Linear(1, 1)
    history: list[dict[str, float]] = []
    for epoch, value in enumerate((0.2, 0.5, 0.4)):
        torch.nn.init.constant_(student.weight, epoch)
        history.append({"label": 1.0, "held-out cosine": value, "held-out EER": 0.1})
        best.see(student, history)  # type: ignore[arg-type]
    best.take(student)  # type: ignore[arg-type]
    assert float(student.weight) == 1.0
    assert Best.score({"held-out EER": 0.1}) > Best.score({"held-out EER": 0.2})
    (tmp_path / "x.best").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"x.best is damaged: train afresh"):
        best.take(student)  # type: ignore[arg-type]


def test_from_log_mels_too_and_taken_up_again(prepared: Prepared, tmp_path: Path) -> None:
    whole = train_student(RECIPE, prepared, tmp_path / "a").read_bytes()
    history = json.loads((tmp_path / "a" / "student.history.json").read_text())
    assert all("held-out EER" in epoch for epoch in history)
    assert len(history) == 3
    assert train_student(RECIPE, prepared, tmp_path / "a").read_bytes() == whole  # finished: only written again
    last = replace(RECIPE, student=replace(RECIPE.student, keep="last"))
    train_student(last, prepared, tmp_path / "b")
    assert "held-out" not in (tmp_path / "b" / "student.history.json").read_text()
