"""Teacher, student, int8 student, bundle and figures, all through the command line, on generated corpora."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import torch

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.errors import InputError
from edge_lupi.models.files import TrainedStudent, load_student, load_teacher
from edge_lupi.train.recipe import load_recipe

Cli = Callable[..., CompletedProcess[str]]


def losses(chain: Any, stage: str, name: str) -> list[float]:
    """A part of the loss in every epoch, by history.json."""
    history = json.loads((chain.folder / f"{stage}.history.json").read_text())
    return [epoch[name] for epoch in history if name in epoch]


def test_the_teacher_looks_at_features(mood_chain: Any) -> None:
    teacher, origin = load_teacher(mood_chain.folder / "teacher.pt")
    assert (teacher.config.video, teacher.config.features) == ("features", 4)
    assert origin.training_speakers == ("voice0", "voice1", "voice2", "voice3")
    assert origin.recipe == load_recipe(mood_chain.recipe).plain()


def test_distillation_brings_the_student_to_the_teacher(mood_chain: Any) -> None:
    for part in ("encoder", "aggregator"):
        first, *_, last = losses(mood_chain, "student", part)
        assert last < 0.97 * first, part
    assert losses(mood_chain, "student", "label")[-1] < 0.9 * np.log(2)  # what a coin would lose
    assert load_student(mood_chain.folder / "student.pt").provenance.distilled is True


def test_audio_only_needs_no_teacher(mood_chain: Any) -> None:
    assert not losses(mood_chain, "audio_only", "encoder")
    assert load_student(mood_chain.folder / "audio_only.pt").provenance.distilled is False


def test_fine_tuning_folds_and_adds_ranges(mood_chain: Any) -> None:
    assert not load_student(mood_chain.folder / "student.pt").ranges
    fine = load_student(mood_chain.folder / "student.int8.pt")
    assert fine.ranges
    assert all(range_.min() >= 0 for range_ in fine.ranges.values())
    assert fine.provenance.qat["epochs"] == 1


def test_evaluate_leaves_out_the_speakers_that_training_heard(mood_chain: Any, cli: Cli) -> None:
    done = cli("evaluate", mood_chain.folder / "student.lupi", "--data", mood_chain.corpus, "--json")
    found = json.loads(done.stdout)
    assert (
        done.stderr
        == "16 utterances of speakers heard in training are left out, unless everyone is asked for (--all)\n"
    )
    assert {"task", "metric", "value", "low", "high", "accuracy", "labels", "confusion"} <= found.keys()
    assert (found["task"], found["metric"], found["labels"]) == ("mood", "uar", ["bright", "plain"])
    assert np.sum(found["confusion"]) == 8
    assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1


def test_a_teacher_with_raw_frames_and_whole_inputs(speaker_chain: Any, cli: Cli) -> None:
    teacher, _ = load_teacher(speaker_chain.folder / "teacher.pt")
    assert (teacher.config.video, teacher.config.frames, teacher.config.frame_size) == ("frames", 25, 24)
    student = load_student(speaker_chain.folder / "student.pt")
    assert student.student.config.setting == "non-sequential"
    assert -1 <= student.student.config.tasks[0].threshold <= 1  # from the validation speakers
    bundle = Bundle.load(speaker_chain.folder / "student.lupi")
    assert bundle.task("speaker").threshold == pytest.approx(student.student.config.tasks[0].threshold)
    trials = ("--data", speaker_chain.folder, "--trials", speaker_chain.folder / "trials.txt", "--json")
    done = cli("evaluate", bundle.path, *trials)
    found = json.loads(done.stdout)
    assert {"task", "metric", "value", "low", "high", "min_dcf", "trials"} <= found.keys()
    assert (found["task"], found["metric"], found["trials"]) == ("speaker", "eer", 64)


def test_a_teacher_of_another_segmentation_is_refused(mood_chain: Any, tmp_path: Path) -> None:
    from edge_lupi.train.examples.corpus import prepare
    from edge_lupi.train.stages.student import train_student

    recipe = load_recipe(mood_chain.recipe, ["segments.hop_seconds=0.5"])
    with pytest.raises(InputError, match="train it again"):
        train_student(recipe, prepare(recipe), tmp_path, teachers=[mood_chain.folder / "teacher.pt"])


def test_a_split_that_shares_a_speaker_is_refused(mood_chain: Any, cli: Cli, tmp_path: Path) -> None:
    shared = mood_chain.corpus.read_text().replace("voice5", "voice0")
    corpus = mood_chain.corpus.with_name("shared.csv")
    corpus.write_text(shared)
    done = cli("train", "teacher", mood_chain.recipe, "--out", tmp_path, "--set", f"data.root={corpus}")
    assert done.returncode == 1
    assert re.fullmatch(r"edge-lupi: expected no speaker in both training and test, got 1 \(voice0\).*\n", done.stderr)
    assert not list(tmp_path.iterdir())


def test_of_speakers_without_labels_a_student_learns_what_its_teacher_says(mood_chain: Any, tmp_path: Path) -> None:
    from edge_lupi.train.examples.corpus import prepare
    from edge_lupi.train.stages.student import train_student
    from edge_lupi.train.stages.teacher import train_teacher

    unlabelled: set[str] = set()

    def trained(corpus: Path, name: str) -> list[TrainedStudent]:
        changes = ["data.labelled_speakers=0.5", "teacher.epochs=1", "student.epochs=1", f'data.root="{corpus}"']
        recipe = load_recipe(mood_chain.recipe, changes)
        prepared = prepare(recipe)
        unlabelled.update(str(u.speaker) for u in prepared.split.unlabelled)
        teacher = train_teacher(recipe, prepared, tmp_path / name)
        taught = train_student(recipe, prepared, tmp_path / name, teachers=[teacher])
        alone = train_student(recipe, prepared, tmp_path / name, name="audio_only")
        assert set(load_teacher(teacher)[1].training_speakers).isdisjoint(unlabelled)
        return [load_student(taught), load_student(alone)]

    taught, alone = trained(mood_chain.corpus, "told")
    assert len(unlabelled) == 2
    assert unlabelled < set(taught.provenance.training_speakers) == {"voice0", "voice1", "voice2", "voice3"}
    assert unlabelled.isdisjoint(alone.provenance.training_speakers)
    assert (taught.provenance.training_utterances, alone.provenance.training_utterances) == (16, 8)

    lies = mood_chain.corpus.with_name("lies.csv")
    swap = {"plain": "bright", "bright": "plain"}
    rows = [line.split(",") for line in mood_chain.corpus.read_text().splitlines()]
    lies.write_text(
        "\n".join(",".join([r[0], swap[r[1]] if r[2] in unlabelled else r[1], *r[2:]]) for r in rows) + "\n"
    )
    other, _ = trained(lies, "lied")
    for key, value in taught.student.state_dict().items():
        assert torch.equal(value, other.student.state_dict()[key]), f"{key} knows labels that nobody told"
