"""A teacher that is asked for every crop: it hears the very crop, its axes are kept, and a student learns what it says."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from edge_lupi.bundle.bundle import shipped_bundle
from edge_lupi.errors import InputError
from edge_lupi.models.files import load_student
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.examples.prepared import Prepared
from edge_lupi.train.recipe import (
    AugmentRecipe,
    DataRecipe,
    PretrainedTeacherRecipe,
    QatRecipe,
    Recipe,
    SegmentRecipe,
    StudentRecipe,
)
from edge_lupi.train.sounds.fresh import fresh_crops
from edge_lupi.train.stages.qat import train_qat
from edge_lupi.train.stages.student import train_student
from edge_lupi.train.teachers import live
from edge_lupi.train.teachers.live import asked, live_teachers
from tests.train.teachers.test_kept import mean_graph

CPU = torch.device("cpu")
DATA = DataRecipe("librispeech_excerpts", "speaker", "held_out", validation_speakers=0.1, sound="samples")
QUIET = AugmentRecipe(gain_db=0.0, noise_share=0.0, time_mask_frames=0, mel_mask=0, free_speeds=0.3)
STUDENT = StudentRecipe(size="pico", epochs=3, batch=16)
RECIPE = Recipe("f", DATA, segments=SegmentRecipe(crop_seconds=2.0), augment=QUIET, student=STUDENT)


@pytest.fixture(scope="module")
def prepared(data_root: Path) -> Prepared:
    """Ten real voices to train on, six to validate on."""
    whole = prepare(replace(RECIPE, data=replace(DATA, root=str(data_root / "librispeech_excerpts"))))
    train = whole.split.train[:10]
    split = replace(whole.split, train=train, validation=whole.split.validation[:6])
    return replace(whole, split=split, classes=tuple(sorted({u.label for u in train})))


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SAMPLE_CROPS", 128)


def encoder(tmp_path: Path, **more: Any) -> PretrainedTeacherRecipe:
    path = tmp_path / "encoder.onnx"
    path.write_bytes(shipped_bundle("speaker").joinpath("encoder.onnx").read_bytes())
    return PretrainedTeacherRecipe(str(path), front_end="log-mel", place="segment", **more)


def test_it_says_of_a_crop_what_it_says_of_that_sound(prepared: Prepared, tmp_path: Path) -> None:
    path = tmp_path / "mean.onnx"
    path.write_bytes(mean_graph(4, 3))
    recipe = replace(RECIPE, teachers=(PretrainedTeacherRecipe(str(path), front_end="log-mel", projection="learnt"),))
    crops = fresh_crops(recipe, prepared, 16, 0, tmp_path, CPU)
    (lesson,) = live_teachers(recipe, crops, tmp_path, 64)
    batch = next(crops(5))
    wanted = F.normalize(batch.frames.mean((2, 3)))
    found = lesson.of(batch, 3, 1)
    assert found.shape == (16, 80)
    own = (wanted - wanted.mean(0)) / (wanted - wanted.mean(0)).norm()
    assert F.cosine_similarity(found - found.mean(0), own, dim=1).min() > 0.98
    assert abs(float(found.square().mean().sqrt()) - 1) < 0.5


def test_segments_and_axes(prepared: Prepared, tmp_path: Path) -> None:
    recipe = replace(RECIPE, teachers=(encoder(tmp_path),))
    crops = fresh_crops(recipe, prepared, 16, 0, tmp_path, CPU)
    (lesson,) = live_teachers(recipe, crops, tmp_path, 64)
    batch = next(crops(1))
    found = lesson.of(batch, 3, 1)
    assert found.shape == (16, 3, 64)
    torch.testing.assert_close(lesson.of(batch, 2, 2), found[:, ::2])
    assert batch.clean is not None
    alone = lesson.ask(batch.clean[:, 8000:24000])
    torch.testing.assert_close((alone - lesson.mean) @ lesson.basis, found[:, 1])


def test_axes_are_kept_and_found_anew_for_another_sound(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, teachers=(encoder(tmp_path),))
    crops = fresh_crops(recipe, prepared, 16, 0, tmp_path, CPU)
    (first,) = live_teachers(recipe, crops, tmp_path, 64)
    (kept,) = tmp_path.glob("axes.*.npz")
    with monkeypatch.context() as patch:
        patch.setattr(live, "_said", lambda *_: pytest.fail("asked again"))
        (again,) = live_teachers(recipe, crops, tmp_path, 64)
    torch.testing.assert_close(again.basis, first.basis)
    kept.write_bytes(kept.read_bytes()[:100])
    (again,) = live_teachers(recipe, crops, tmp_path, 64)
    torch.testing.assert_close(again.basis, first.basis)
    fewer = replace(crops, sounds=replace(crops.sounds, flat=crops.sounds.flat // 2))
    live_teachers(recipe, fewer, tmp_path, 64)
    assert len(list(tmp_path.glob("axes.*.npz"))) == 2


def test_torch_answers_as_onnx_runtime_does(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mean.onnx"
    path.write_bytes(mean_graph(3, 2))
    one = PretrainedTeacherRecipe(str(path))
    here = asked(path.read_bytes(), one, CPU)

    class Elsewhere:
        """A device that is not called the CPU."""

        type = "cuda"

    monkeypatch.setattr(live, "TorchGraph", lambda data, _, name: live_graph(data, name))
    sound = next(fresh_crops(RECIPE, prepared, 16, 0, tmp_path, CPU)(0)).clean
    assert sound is not None
    there = asked(path.read_bytes(), one, Elsewhere())(sound)  # type: ignore[arg-type]
    torch.testing.assert_close(there, here(sound), atol=1e-4, rtol=0)


def live_graph(data: bytes, name: str) -> Any:
    from edge_lupi.train.teachers.torch_graph import TorchGraph

    return TorchGraph(data, CPU, name)


def test_a_student_learns_it_and_held_out_voices_are_watched(prepared: Prepared, tmp_path: Path, capfd: Any) -> None:
    recipe = replace(RECIPE, teachers=(encoder(tmp_path, weight=3.0, relations=1.0),))
    recipe = replace(recipe, data=replace(DATA, rounds=8), student=replace(STUDENT, epochs=4, keep="best"))
    path = train_student(recipe, prepared, tmp_path / "out")
    said = capfd.readouterr().err
    cosines = [float(x) for x in re.findall(r"held-out cosine (-?[0-9.]+)", said)]
    assert len(cosines) == len(re.findall(r"held-out EER [0-9.]+", said)) == 4
    assert cosines[-1] > cosines[0]
    assert said.count("slow on a CPU") == 1
    assert (tmp_path / "out" / "student.best").is_file()
    trained = load_student(path)
    assert trained.provenance.distilled is True
    tuned = replace(recipe, qat=QatRecipe(epochs=1, batch=16))
    int8 = load_student(train_qat(tuned, prepared, path, tmp_path / "out"))
    assert all(value.device.type == "cpu" and (value > 0).all() for value in int8.ranges.values())


def test_a_table_tells_of_whole_utterances(prepared: Prepared, tmp_path: Path) -> None:
    """Each crop is taught the vector of its utterance, in other surroundings in every epoch."""
    path, names = tmp_path / "table.npz", [utterance.name for utterance in prepared.split.train]
    vectors = torch.randn(len(names), 128, generator=torch.Generator().manual_seed(0))
    np.savez(path, utterance=np.array(names), embedding=vectors.numpy())
    one = PretrainedTeacherRecipe(str(path), relations=1.0)
    recipe = replace(RECIPE, augment=replace(QUIET, free_speeds=0.0, noises=0.5), teachers=(one,))
    crops = fresh_crops(recipe, prepared, 8, 0, tmp_path, CPU)
    (teacher,) = live_teachers(recipe, crops, tmp_path, 128)
    unit = F.normalize(vectors)
    about = unit - unit.mean(0)
    for batch in crops(0):
        wanted = about[list(batch.examples)] / about.square().mean().sqrt()
        torch.testing.assert_close(teacher.of(batch, 1, 1), wanted)
    first, second = (next(crops(epoch)) for epoch in (0, 1))
    assert not torch.equal(first.frames, second.frames)
    assert load_student(train_student(recipe, prepared, tmp_path / "out")).provenance.distilled is True


def test_what_cannot_be_asked_anew_is_refused(prepared: Prepared, tmp_path: Path) -> None:
    other = replace(RECIPE, teachers=(PretrainedTeacherRecipe("teacher.pt"),))
    with pytest.raises(
        InputError, match=r"expected a teacher that can be asked for every crop, an .onnx file, .* got teacher.pt"
    ):
        train_student(other, prepared, tmp_path)
    table = replace(RECIPE, teachers=(PretrainedTeacherRecipe("table.npz"),))
    with pytest.raises(InputError, match=r"crops at speed 1 beside a table .* got others beside table.npz"):
        train_student(table, prepared, tmp_path)
    with pytest.raises(
        InputError, match=r"expected teachers that can be asked for every crop, .onnx files in \[\[teachers\]\]"
    ):
        train_student(RECIPE, prepared, tmp_path, teachers=[tmp_path / "teacher.pt"])
    narrow = tmp_path / "mean.onnx"
    narrow.write_bytes(mean_graph(4, 3))
    teacher = PretrainedTeacherRecipe(str(narrow), front_end="log-mel")
    wide = replace(RECIPE, teachers=(teacher,), student=replace(STUDENT, size="small"))
    with pytest.raises(InputError, match=r"expected a teacher of at least 160 channels .* got 80"):
        train_student(wide, prepared, tmp_path)
    nobody = replace(prepared, split=replace(prepared.split, validation=()))
    with pytest.raises(InputError, match=r'expected validation speakers .* for student.keep = "best", got neither'):
        train_student(replace(RECIPE, student=replace(STUDENT, keep="best")), nobody, tmp_path)
