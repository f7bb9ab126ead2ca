"""What of a teacher's embeddings can be heard: known mixtures, real recordings with action units, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edge_lupi.errors import InputError
from edge_lupi.models.files import load_student
from edge_lupi.train.distil.embeddings import TeacherEmbeddings
from edge_lupi.train.distil.losses import mse, slow_and_fast
from edge_lupi.train.distil.parts import audible_axes, part_of, predicted
from edge_lupi.train.distil.under_teachers import under_teachers
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.recipe import Recipe, load_recipe
from edge_lupi.train.stages.student import train_student
from edge_lupi.train.stages.teacher import train_teacher

CPU = torch.device("cpu")
PEOPLE = [f"speaker{number % 12}" for number in range(1200)]


def mixture() -> tuple[torch.Tensor, torch.Tensor]:
    """What is heard [R, 6], and what a teacher makes of it: two channels of it, two of sight alone, one of the speaker alone."""
    draw = torch.Generator().manual_seed(0)
    heard, sight = torch.randn(1200, 6, generator=draw), torch.randn(1200, 2, generator=draw)
    who = torch.randn(12, 1, generator=draw)[torch.arange(1200) % 12]
    return heard, torch.cat([heard[:, :2] @ torch.tensor([[1.0, 0.5], [0.0, 1.0]]), sight, who], 1)


def test_a_guess_tells_speakers_whom_it_was_not_fitted_on() -> None:
    heard, wanted = mixture()
    error = (predicted(heard, wanted, PEOPLE) - wanted).square().mean(0) / wanted.square().mean(0)
    assert error[:2].max() < 0.05
    assert error[2:].min() > 0.95
    told = torch.eye(12)[torch.arange(1200) % 12]  # who speaks tells a channel of the speaker, but not of a stranger
    assert (predicted(told, wanted, PEOPLE)[:, 4] - wanted[:, 4]).square().mean() >= wanted[:, 4].square().mean()


def test_audible_are_the_directions_of_what_is_heard() -> None:
    heard, wanted = mixture()
    axes = audible_axes(wanted, predicted(heard, wanted, PEOPLE))
    assert axes.shape == (5, 2)
    assert (axes / axes.norm(dim=0))[:2].square().sum(0).min() > 0.98
    assert (wanted @ axes).square().mean().item() == pytest.approx(1, abs=1e-4)
    with pytest.raises(InputError, match="of which some can be heard"):
        audible_axes(wanted, -wanted)


def test_slow_and_fast_are_together_the_squared_distance() -> None:
    own, wanted = torch.randn(3, 4, 5), torch.randn(3, 4, 5)
    assert slow_and_fast(own, wanted, 1.0).item() == pytest.approx(mse(own, wanted).item(), rel=1e-5)
    shaken = wanted + torch.tensor([1.0, -1.0, 1.0, -1.0])[None, :, None]
    assert slow_and_fast(shaken, wanted, 0.0).item() == pytest.approx(0, abs=1e-6)


def known(segments: torch.Tensor) -> TeacherEmbeddings:
    """Of utterances with two segments each."""
    starts = torch.arange(0, len(segments) + 1, 2)
    return TeacherEmbeddings(
        segments, starts, segments[::2], segments.new_zeros(len(starts) - 1, 1, 2), torch.ones(2, 5)
    )


def test_one_teacher_has_no_part_that_another_hears() -> None:
    with pytest.raises(InputError, match=r"expected two teachers for distil\.part"):
        part_of("audible", [known(mixture()[1])], [])


@pytest.fixture
def recipe(data_root: Path, tmp_path: Path) -> Callable[..., Recipe]:
    """Some minutes of six actors, one of whom is tested."""

    def make(*changes: str) -> Recipe:
        path, root = tmp_path / "recipe.toml", data_root / "ravdess_av"
        rows = (root / "labels.csv").read_text().splitlines()
        corpus = tmp_path / "some"
        corpus.mkdir(exist_ok=True)
        kept = [row for row in rows[1:] if int(row.split(",")[3]) <= 6 and row.split(",")[8] == "1"]
        (corpus / "labels.csv").write_text("\n".join([rows[0], *kept]).replace("audio/", f"{root}/audio/"))
        (corpus / "video_au_mean35.csv").write_text((root / "video_au_mean35.csv").read_text())
        path.write_text(
            f"""
            name = "parts"
            [data]
            root = "{corpus}"
            task = "emotion"
            test = "fold0"
            [segments]
            seconds = 1.5
            trim_db = 30.0
            [teacher]
            size = "pico"
            video = "features"
            epochs = 2
            [student]
            size = "pico"
            epochs = 2
            """
        )
        return load_recipe(path, changes)

    return make


@pytest.mark.real_speech
def test_parts_of_teachers_of_real_faces(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    settings = recipe()
    prepared = prepare(settings)
    deaf = replace(settings, teacher=replace(settings.teacher, video="none"))
    teachers = [
        train_teacher(settings, prepared, tmp_path / "sees"),
        train_teacher(deaf, prepared, tmp_path / "hears"),
    ]
    whole = under_teachers(settings, prepared, teachers[:1], CPU)[1]
    assert whole is not None
    for part in ("audible", "beyond"):
        some = recipe(f"distil.part={part}")
        found = under_teachers(some, prepared, teachers, CPU)[1]
        assert found is not None
        assert len(found.segments) == len(whole.segments)
        assert found.origin.startswith(part)
        if found.axes:
            assert found.segments.shape[1] == found.axes[0].shape[1] < whole.segments.shape[1]
        student = load_student(train_student(some, prepared, tmp_path / part, teachers=teachers))
        assert student.provenance.distilled is True
    with pytest.raises(InputError, match="expected two teachers"):
        train_student(recipe("distil.part=beyond"), prepared, tmp_path / "one", teachers=teachers[:1])


@pytest.mark.real_speech
def test_a_teacher_by_its_outputs_may_be_the_only_one(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    path = tmp_path / "said.npz"
    some = recipe(f"distil.outputs={path}:said", "distil.soft=0.5", "distil.encoder=0", "distil.aggregator=0")
    prepared = prepare(some)
    names = [utterance.name for utterance in prepared.split.train]
    sure = np.full((len(names), 8), 1 / 8)
    np.savez(path, clip=np.array(names), classes=np.array(prepared.classes), said=sure)
    found = under_teachers(some, prepared, [], CPU)[1]
    assert found is not None
    assert (found.segments.shape[1], found.scores.shape) == (0, (len(names), 1, 8))
    student = load_student(train_student(some, prepared, tmp_path / "out"))
    assert student.provenance.distilled is True
    with pytest.raises(InputError, match=r"a teacher beside distil\.outputs, which has no embeddings"):
        under_teachers(replace(some, distil=replace(some.distil, encoder=1.0)), prepared, [], CPU)
