"""Teachers from elsewhere: a real ONNX encoder, small graphs whose answer is known, and tables."""

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from torch.nn import functional as F

from edge_lupi.bundle.bundle import shipped_bundle
from edge_lupi.errors import InputError
from edge_lupi.models.files import load_student
from edge_lupi.train.distil.losses import teacher_losses
from edge_lupi.train.examples.batch import Batch
from edge_lupi.train.examples.clips import load_examples, segments_of
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.recipe import PretrainedTeacherRecipe, Recipe, load_recipe
from edge_lupi.train.stages.student import train_student
from edge_lupi.train.teachers.kaldi import kaldi_fbank
from edge_lupi.train.teachers.kept import KeptTeacher, kept_teacher, kept_teachers
from edge_lupi.train.teachers.onnx_teacher import OnnxTeacher

CPU = torch.device("cpu")


def mean_graph(rank: int, axis: int) -> bytes:
    """Input of that rank -> its mean over one axis: a teacher whose answer is known."""
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, [f"d{i}" for i in range(rank)])
    given = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    node = helper.make_node("ReduceMean", ["x"], ["y"], axes=[axis], keepdims=0)
    opset = [helper.make_opsetid("", 17)]
    made = helper.make_model(helper.make_graph([node], "mean", [taken], [given]), opset_imports=opset, ir_version=8)
    return bytes(made.SerializeToString())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, voice: Callable[..., Any]) -> Path:
    """Six voices with two recordings of 2 s each, and a corpus of nobody knows whom."""
    import soundfile

    root = tmp_path_factory.mktemp("lessons")
    for name, seeds in (("known", range(6)), ("others", range(20, 24))):
        for seed in seeds:
            folder = root / name / (f"voice{seed}" if name == "known" else "all")
            folder.mkdir(parents=True, exist_ok=True)
            for take in range(2):
                sound = voice(seed, 4.0)[take * 32000 : (take + 1) * 32000]
                soundfile.write(folder / f"{seed}_{take}.wav", sound, 16000)
    return root


@pytest.fixture
def recipe(corpus: Path, tmp_path: Path) -> Callable[..., Recipe]:
    def make(*changes: str, teachers: str = "") -> Recipe:
        path = tmp_path / "recipe.toml"
        path.write_text(
            f"""
            name = "lessons"
            [data]
            root = "{corpus / "known"}"
            task = "speaker"
            test = ["voice5"]
            [segments]
            crop_seconds = 1.5
            [student]
            size = "pico"
            epochs = 4
            batch = 5
            [augment]
            noise_share = 0.0
            gain_db = 0.0
            {teachers}
            """
        )
        return load_recipe(path, changes)

    return make


def test_a_real_encoder_teaches_by_segment(recipe: Callable[..., Recipe], tmp_path: Path, capfd: Any) -> None:
    path = tmp_path / "encoder.onnx"
    path.write_bytes(shipped_bundle("speaker").joinpath("encoder.onnx").read_bytes())
    taught = recipe(
        teachers=f'[[teachers]]\npath = "{path}"\nfront_end = "log-mel"\nplace = "segment"\nweight = 3.0\nrelations = 1.0'
    )
    taught = replace(taught, student=replace(taught.student, epochs=30))
    prepared = prepare(taught)
    examples = load_examples(prepared.split.train, prepared.classes, taught)
    straight = replace(taught, teachers=(replace(taught.teachers[0], projection="learnt"),))
    (lesson,) = kept_teachers(straight, prepared, examples, tmp_path, CPU, 192)
    assert lesson.starts is not None
    assert lesson.starts.tolist() == [3 * n for n in range(11)]
    engine = OnnxTeacher(path.read_bytes(), "log-mel", "encoder").engine
    heard = np.concatenate([segments_of(e.frames, taught.segments.segmentation)[0].numpy() for e in examples])
    said = F.normalize(torch.from_numpy(engine.run({"log_mel": heard})["embedding"]))
    assert (
        F.cosine_similarity(lesson.vectors, said - said.mean(0)).min() > 0.9
    )  # but for the frame before a segment, and int8
    trained = load_student(train_student(taught, prepared, tmp_path / "out"))
    told = re.findall(r"\bencoder ([0-9.]+)", capfd.readouterr().err)
    assert float(told[-1]) < 0.9 * float(told[0])
    assert trained.provenance.distilled is True
    assert trained.provenance.recipe["teachers"][0]["path"] == str(path)


def test_kaldi_banks_are_kaldis(voice: Callable[..., Any]) -> None:
    samples = torch.from_numpy(np.stack([voice(1, 1.0), voice(2, 1.0)]))
    banks = kaldi_fbank(samples)
    assert banks.shape == (2, 98, 80)
    assert banks.mean(1).abs().max() < 1e-4
    said = OnnxTeacher(mean_graph(3, 2), "kaldi-fbank", "mean")(samples.numpy())
    np.testing.assert_allclose(said, banks.mean(2).numpy(), atol=1e-5)


def test_an_utterance_teacher_hears_all_of_it_and_is_asked_once(
    recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mean.onnx"
    path.write_bytes(mean_graph(4, 3))
    settings = recipe("augment.speeds=[1.0, 0.9]")
    prepared = prepare(settings)
    examples = load_examples(prepared.split.train, prepared.classes, settings)
    sources = {u.name: u for u in prepared.split.train}
    one = PretrainedTeacherRecipe(str(path), front_end="log-mel")

    def told() -> KeptTeacher:
        return kept_teacher(one, examples, sources, settings.segments.segmentation, 0.0, tmp_path)

    first = told()
    wanted = F.normalize(torch.stack([torch.from_numpy(e.frames[: len(e.frames)]).mean(0) for e in examples]))
    wanted = wanted - wanted.mean(0)
    assert len(first.vectors) == len(examples) == 20
    assert F.cosine_similarity(first.vectors, wanted).min() > 0.99
    (kept,) = tmp_path.glob("lesson.*.npz")
    with monkeypatch.context() as patch:
        patch.setattr("edge_lupi.train.teachers.kept.OnnxTeacher", lambda *_: pytest.fail("asked again"))
        torch.testing.assert_close(told().vectors, first.vectors)
    kept.write_bytes(kept.read_bytes()[:100])
    torch.testing.assert_close(told().vectors, first.vectors)


def test_a_segment_teacher_may_hear_what_is_around(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    path = tmp_path / "mean.onnx"
    path.write_bytes(mean_graph(4, 3))
    settings = recipe()
    prepared = prepare(settings)
    examples = load_examples(prepared.split.train, prepared.classes, settings)[:3]
    sources = {u.name: u for u in prepared.split.train}
    cut = settings.segments.segmentation
    long = PretrainedTeacherRecipe(str(path), front_end="log-mel", place="segment", hears_seconds=2.0)
    lesson = kept_teacher(long, examples, sources, cut, 0.0, tmp_path)
    # the second of three segments of 2 s of sound: half a second before and after it, so all there is
    whole = torch.stack([torch.from_numpy(e.frames).mean(0) for e in examples])
    middle = lesson.vectors.reshape(3, 3, 80)[:, 1]
    apart = F.normalize(whole)
    assert torch.corrcoef(torch.stack([middle[0] - middle[1], apart[0] - apart[1]]))[0, 1] > 0.99


def test_without_labels_only_teachers_tell(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    path = tmp_path / "mean.onnx"
    path.write_bytes(mean_graph(4, 3))
    section = f'[[teachers]]\npath = "{path}"\nfront_end = "log-mel"\nprojection = "learnt"'
    settings = recipe("student.labels=0.0", "student.epochs=1", teachers=section)
    prepared = prepare(settings)
    wrong = [replace(u, label=prepared.classes[n % 5]) for n, u in enumerate(prepared.split.train)]
    mixed = replace(prepared, split=replace(prepared.split, train=tuple(wrong)))
    told = [load_student(train_student(settings, p, tmp_path / str(n))) for n, p in enumerate((prepared, mixed))]
    assert all(torch.equal(a, b) for a, b in zip(*(t.student.state_dict().values() for t in told), strict=True))
    with pytest.raises(InputError, match=r"expected a teacher where student.labels = 0, got none"):
        train_student(replace(settings, teachers=()), prepared, tmp_path / "alone")


def table(names: list[str], width: int = 200, **more: Any) -> bytes:
    packed = io.BytesIO()
    np.savez(packed, utterance=np.array(names), embedding=np.random.default_rng(0).normal(size=(len(names), width)), **more)  # fmt: skip
    return packed.getvalue()


def test_a_table_says_which_row_it_lacks(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    settings = recipe("augment.speeds=[1.0, 0.9]", teachers=f'[[teachers]]\npath = "{path}"')
    prepared = prepare(settings)
    examples = load_examples(prepared.split.train, prepared.classes, settings)
    names = [e.name for e in examples]
    path.write_bytes(table(names, speed=np.array([e.speed for e in examples])))
    (lesson,) = kept_teachers(settings, prepared, examples, tmp_path, CPU, 128)
    assert lesson.vectors.shape == (20, 128)
    path.write_bytes(table(sorted(set(names))))
    with pytest.raises(InputError, match=r"all 20 rows .* got 10 without, the first voice0/0_0.wav at speed 0.9: make"):
        kept_teachers(settings, prepared, examples, tmp_path, CPU, 128)
    path.write_bytes(table(names, width=64, speed=np.array([e.speed for e in examples])))
    with pytest.raises(InputError, match=r'at least 128 channels .* got 64 .* set teachers.projection = "learnt"'):
        kept_teachers(settings, prepared, examples, tmp_path, CPU, 128)
    path.write_bytes(b"PK")
    with pytest.raises(InputError, match=r"expected utterance \[N\], embedding \[N, D\] in .*: make the table again"):
        kept_teachers(settings, prepared, examples, tmp_path, CPU, 128)


def test_axes_keep_cosines_and_a_student_that_points_there_has_nothing_to_lose() -> None:
    draw = torch.Generator().manual_seed(0)
    vectors = torch.randn(50, 30, generator=draw) @ torch.randn(30, 192, generator=draw)
    wide = KeptTeacher(PretrainedTeacherRecipe("x.npz", relations=1.0), vectors - vectors.mean(0))
    lesson = wide.along_axes(40)
    before, after = (F.normalize(rows.vectors) for rows in (wide, lesson))
    torch.testing.assert_close(before @ before.T, after @ after.T, atol=1e-4, rtol=0)
    batch = Batch(torch.zeros(5, 80, 1, 100), torch.zeros(5), (3, 1, 4, 1, 5), (0,) * 5, None)
    assert all(part < 1e-6 for part in teacher_losses([lesson], batch, [3 * lesson.of(batch, 1, 1)], 1).values())
    assert all(part > 0.1 for part in teacher_losses([lesson], batch, [torch.ones(5, 40)], 1).values())


def test_of_nameless_corpora_a_student_learns_what_its_teachers_say(
    recipe: Callable[..., Recipe], corpus: Path, tmp_path: Path
) -> None:
    path = tmp_path / "mean.onnx"
    path.write_bytes(mean_graph(4, 3))
    section = f'[[teachers]]\npath = "{path}"\nfront_end = "log-mel"\nprojection = "learnt"'
    settings = recipe(f'data.unlabelled=["{corpus / "others"}"]', "student.epochs=1", teachers=section)
    prepared = prepare(settings)
    assert len(prepared.split.unlabelled) == 8
    assert prepared.split.unlabelled[0].name == "others/all/20_0.wav"
    trained = load_student(train_student(settings, prepared, tmp_path / "out"))
    assert trained.provenance.training_utterances == 10 + 8
    alone = load_student(train_student(replace(settings, teachers=()), prepared, tmp_path / "alone"))
    assert alone.provenance.training_utterances == 10


@pytest.mark.parametrize(
    ("front_end", "graph", "sentence"),
    [
        ("raw", mean_graph(3, 1), r"expected a teacher that takes raw \[B, T\] in .* set teachers.front_end"),
        ("log-mel", b"no graph", r"expected a teacher that ONNX Runtime can load in "),
        ("raw", mean_graph(2, 0), r"expected finite vectors \[2, D\] from teacher, got shape \(16000,\)"),
    ],
)
def test_a_graph_that_does_not_fit_is_one_sentence(front_end: str, graph: bytes, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        OnnxTeacher(graph, front_end, "teacher")(np.zeros((2, 16000), np.float32))


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ("path = 'x.bin'", r"expected teachers.path that ends in .pt, .onnx, .npz, got 'x.bin'"),
        ("path = 'x.onnx'\nplace = 'room'", r"expected teachers.place of utterance, segment, got 'room'"),
        ("path = 'x.onnx'\nwieght = 2.0", r"unknown key teachers.wieght: did you mean teachers.weight\?"),
        ("path = 'x.onnx'\nweight = 0.0", r"teachers.weight and teachers.relations of at least 0, one of them above"),
        ("path = 'x.onnx'\nhears_seconds = 1e9", r"teachers.hears_seconds from 0 to 60"),
        ("path = 'x.onnx'\ndistance = 'far'", r"teachers.distance of mse, cosine, margin, got 'far'"),
        ("weight = 1.0", r"lacks a key that is needed: teachers.'path'"),
    ],
)
def test_a_section_that_is_wrong_is_one_sentence(recipe: Callable[..., Recipe], section: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        recipe(teachers=f"[[teachers]]\n{section}")


def test_from_the_command_line(recipe: Callable[..., Recipe], tmp_path: Path, cli: Any) -> None:
    path = tmp_path / "mean.onnx"
    path.write_bytes(mean_graph(4, 3))
    section = f'[[teachers]]\npath = "{path}"\nfront_end = "log-mel"\nprojection = "learnt"'
    recipe(teachers=section)
    toml, out = tmp_path / "recipe.toml", tmp_path / "out"
    done = cli("train", "student", toml, "--out", out, "--set", "student.epochs=1")
    assert done.returncode == 0, done.stderr
    assert "labels alone" not in done.stderr
    assert "mean" in done.stderr
    done = cli("train", "student", toml, "--out", out, "--set", "student.epochs=1", "--audio-only")
    assert done.returncode == 0, done.stderr
    assert load_student(out / "audio_only.pt").provenance.distilled is False
    path.unlink()
    done = cli("train", "student", toml, "--out", out, "--fresh")
    assert done.returncode == 1
    assert f"expected a teacher of the recipe at {path}, got" in done.stderr.splitlines()[-1]
