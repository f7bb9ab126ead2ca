"""A student that begins with another's weights: the same answers, the same bits where frozen, and who was heard before."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch

from edge_lupi.bundle.provenance import Provenance
from edge_lupi.compile.student import _taught
from edge_lupi.data.readers.corpora import read_corpus
from edge_lupi.data.speech import read_speech
from edge_lupi.errors import BundleError, InputError
from edge_lupi.evaluate.unheard import unheard
from edge_lupi.frames import Segmentation
from edge_lupi.models.encoder import Encoder
from edge_lupi.models.files import TrainedStudent, load_student, save_student
from edge_lupi.models.front_end import cut, log_mel
from edge_lupi.models.student import Student, StudentConfig
from edge_lupi.task import Task
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.recipe import load_recipe
from edge_lupi.train.stages.qat import train_qat
from edge_lupi.train.stages.start import Start, freeze, open_start, put_norms_back, take_weights
from edge_lupi.train.stages.student import train_student

STUDENTS = Path(__file__).resolve().parents[3] / "train" / "students"
Cli = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def spoken(data_root: Path) -> torch.Tensor:
    """Log-mel segments [B, 80, 1, F] of all actors of RAVDESS."""
    utterances = read_corpus(data_root / "ravdess_av").utterances[::60]
    seconds = torch.stack([torch.from_numpy(read_speech(u, 30)[0][:16_000]) for u in utterances])
    return cut(log_mel(seconds), Segmentation(1.0, 0.5)).flatten(0, 1)


@pytest.mark.parametrize("name", ["speaker_nano", "emotion"])
def test_a_folded_student_begins_where_it_ended(name: str, spoken: torch.Tensor) -> None:
    """The shipped students: norms folded and, of size mini, squares of the log-mel in the stem's kernel."""
    folded = load_student(STUDENTS / f"{name}.pt").student
    fresh = Encoder(folded.config.size)
    put_norms_back(fresh, folded.encoder, iter(spoken.split(7)))
    with torch.no_grad():
        wanted = folded.encoder(spoken)
        torch.testing.assert_close(fresh.eval()(spoken), wanted, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(copy.deepcopy(fresh).fold()(spoken), wanted, rtol=1e-3, atol=1e-4)
        # in training norms take the statistics of the batch, which are those that they were given
        assert torch.nn.functional.cosine_similarity(fresh.train()(spoken), wanted).min() > 0.999


def started(student: Student, path: Path, *frozen: str) -> str:
    return take_weights(student, open_start(path, student.config.size), frozen, iter([torch.randn(4, 80, 1, 100)]))


def make_student(labels: tuple[str, ...], name: str = "emotion", size: str = "mini") -> Student:
    tasks = (Task(name, "classification", labels),)
    return Student(StudentConfig(size, "sequential", Segmentation(1.5, 0.5), tasks))


def test_labels_that_both_know_keep_their_rows() -> None:
    before = load_student(STUDENTS / "emotion.pt").student
    student = make_student(("angry", "bored", "happy"))
    said = started(student, STUDENTS / "emotion.pt")
    assert said.endswith("taken encoder, aggregator of emotion, 2 of 3 labels of emotion; new bored")
    mine, theirs = student.branch().header, before.branch().header
    assert mine is not None
    assert theirs is not None
    assert torch.equal(mine.linear.weight[[0, 2]], theirs.linear.weight[[4, 2]])
    assert torch.equal(mine.linear.bias[[0, 2]], theirs.linear.bias[[4, 2]])


def test_a_header_learnt_beside_voices_says_the_same_without() -> None:
    """Of a voice that nobody has heard; the mean of all voices, which it took away, goes into its biases."""
    task = Task("emotion", "classification", ("angry", "happy", "sad"), voice=5.0)
    theirs = Student(StudentConfig("pico", "sequential", Segmentation(1.5, 0.5), (task,)))
    assert theirs.branch().voice is not None
    theirs.branch().voice.population.normal_()
    trained = TrainedStudent(theirs, {}, torch.zeros(16_000, dtype=torch.int16), Provenance())
    mine = make_student(("sad", "angry"), size="pico")
    take_weights(mine, Start(Path("theirs.pt"), trained, ""), ["encoder"], iter([]))
    utterance = torch.randn(5, mine.encoder.embedding_size)
    said, wanted = mine.branch().answer(utterance)[1], theirs.branch().answer(utterance)[1]
    assert said is not None
    assert wanted is not None
    torch.testing.assert_close(said, wanted[:, [2, 0]])


def test_a_frozen_encoder_is_the_same_to_the_bit() -> None:
    before = load_student(STUDENTS / "speaker_nano.pt").student
    student = make_student(("plain", "bright"), "mood", "nano")
    said = started(student, STUDENTS / "speaker_nano.pt", "encoder")
    assert said.endswith("taken encoder; new aggregator of mood, header of mood; frozen encoder")
    for name, value in before.encoder.state_dict().items():
        assert torch.equal(value, student.encoder.state_dict()[name])
    assert not any(parameter.requires_grad for parameter in student.encoder.parameters())
    assert all(parameter.requires_grad for parameter in student.branches.parameters())


def test_what_cannot_be_begun_with_or_frozen(make_grid_student: Callable[[], Any]) -> None:
    with pytest.raises(InputError, match=r'expected student.size = "nano", as .*speaker_nano.pt is .*, got "mini"'):
        open_start(STUDENTS / "speaker_nano.pt", "mini")
    student = make_grid_student().student
    with pytest.raises(
        InputError, match=r"got encoder.stomach: known are encoder, encoder.stem, .*branches.mood.header"
    ):
        freeze(student, ["encoder", "encoder.stomach"])
    with pytest.raises(InputError, match="leave something to learn, got encoder, branches"):
        freeze(student, ["encoder", "branches"])


@pytest.fixture
def source(mood_chain: Any, tmp_path: Path) -> Path:
    """The int8 student of the moods, as if it had learnt from somewhere else."""
    trained = load_student(mood_chain.folder / "student.int8.pt")
    provenance = replace(trained.provenance, corpus="elsewhere", licence="CC BY 4.0")
    save_student(tmp_path / "source.pt", replace(trained, provenance=provenance))
    return tmp_path / "source.pt"


def trained_from(chain: Any, folder: Path, source: Path, *changes: str) -> TrainedStudent:
    recipe = load_recipe(chain.recipe, ["student.epochs=2", f'student.start_from="{source}"', *changes])
    return load_student(train_student(recipe, prepare(recipe), folder, name="audio_only"))


def test_what_is_frozen_stays_in_training(mood_chain: Any, source: Path, tmp_path: Path) -> None:
    before = load_student(source).student.state_dict()
    frozen = trained_from(mood_chain, tmp_path / "a", source, 'student.frozen=["encoder"]').student.state_dict()
    kept = {name for name in before if name.startswith("encoder")}
    assert all(torch.equal(before[name], frozen[name]) for name in kept)
    assert not torch.equal(before["branches.mood.header.linear.weight"], frozen["branches.mood.header.linear.weight"])
    recipe = load_recipe(mood_chain.recipe)  # and can be brought to the int8 grid again
    again = load_student(train_qat(recipe, prepare(recipe), tmp_path / "a" / "audio_only.pt", tmp_path / "a"))
    assert again.ranges.keys() == load_student(source).ranges.keys()
    part = trained_from(mood_chain, tmp_path / "b", source, 'student.frozen=["encoder.stem", "encoder.blocks.0"]')
    encoder = part.student.encoder.fold()
    for name, value in encoder.state_dict().items():
        if name.startswith(("stem", "blocks.0")):
            torch.testing.assert_close(value, before[f"encoder.{name}"], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(encoder.state_dict()["project.weight"], before["encoder.project.weight"], rtol=1e-3)


def test_a_licence_that_stands_beside_its_corpus_is_not_said_again() -> None:
    trained = load_student(STUDENTS / "speaker_nano.pt")
    start = Start(STUDENTS / "speaker_nano.pt", replace(trained, provenance=Provenance(licence="CC BY 4.0")), "0" * 64)
    assert start.licences("read: CC BY 4.0; own: CC0") == "read: CC BY 4.0; own: CC0"


def test_licence_and_voices_of_the_beginning_are_kept(mood_chain: Any, source: Path, tmp_path: Path) -> None:
    found = trained_from(mood_chain, tmp_path / "a", source).provenance
    assert found.licence == "unknown: the user's own recordings; CC BY 4.0"
    assert [origin.corpus for origin in found.started_from] == ["elsewhere"]
    again = trained_from(mood_chain, tmp_path / "b", tmp_path / "a" / "audio_only.pt").provenance
    assert [origin.corpus for origin in again.started_from] == ["moods", "elsewhere"]
    assert _taught(again).count("begun with a student taught by") == 2
    corpus = read_corpus(mood_chain.corpus)
    elsewhere = type(corpus)(
        "elsewhere", *[getattr(corpus, key) for key in ("utterances", "licence", "labels", "root")]
    )
    assert unheard(elsewhere, again)[1] == 16  # those of the four voices that its beginning's beginning has heard


@pytest.mark.parametrize("told", ["moods", ["moods"], [{"corpus": 3}], [{"training_speakers": [3]}]])
def test_an_origin_that_nobody_can_read_is_refused(source: Path, told: Any) -> None:
    content = torch.load(source, weights_only=True)
    content["provenance"]["started_from"] = told
    torch.save(content, source)
    with pytest.raises(BundleError, match="expected 'started_from' to list where the first weights come from"):
        load_student(source)


def test_a_beginning_that_knows_the_test_voices_is_refused(mood_chain: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has not heard the test speakers of moods, got .*student.pt, which knows 2"):
        trained_from(mood_chain, tmp_path, mood_chain.folder / "student.pt", 'data.test=["voice0", "voice1"]')
    assert not list(tmp_path.iterdir())


def test_another_beginning_does_not_take_up_the_checkpoint(mood_chain: Any, source: Path, tmp_path: Path) -> None:
    first = trained_from(mood_chain, tmp_path / "run", source)
    moved = source.rename(tmp_path / "moved.pt")
    same = trained_from(mood_chain, tmp_path / "run", moved)  # what lies there counts, not where
    for name, value in first.student.state_dict().items():
        assert torch.equal(value, same.student.state_dict()[name])
    with pytest.raises(InputError, match="belongs to another recipe, seed or corpus"):
        trained_from(mood_chain, tmp_path / "run", mood_chain.folder / "audio_only.pt")


def test_the_command_line_says_what_it_took(mood_chain: Any, source: Path, cli: Cli, tmp_path: Path) -> None:
    words = ("train", "student", mood_chain.recipe, "--out", tmp_path / "run", "--set", "student.epochs=1")
    done = cli(*words, "--from", source)
    assert done.returncode == 0, done.stderr
    assert f"from {source}: taken encoder, aggregator of mood, 2 of 2 labels of mood\n" in done.stderr
    assert "student.rate is 0.002: what is known already is soon lost above 0.001; try 3e-4\n" in done.stderr
    done = cli(*words, "--set", 'student.frozen=["encoder"]', "--fresh")
    assert done.returncode == 1
    assert "expected student.start_from beside student.frozen" in done.stderr
    assert "(--from)" in done.stderr
