"""A stand-in of VoxCeleb, cut into shards by the command line, trains teacher and student as the corpus in memory would."""

import io
import json
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from edge_lupi.cli import app
from edge_lupi.data.shards import array_bytes, shard_path
from edge_lupi.disk import temporary_prefix
from edge_lupi.errors import InputError
from edge_lupi.models.files import load_student, load_teacher
from edge_lupi.terminal import log_shown
from edge_lupi.train.distil import shard_embeddings as shard_cache
from edge_lupi.train.distil.embeddings import teacher_embeddings
from edge_lupi.train.distil.shard_embeddings import shard_embeddings
from edge_lupi.train.examples import cut_shards as cutting
from edge_lupi.train.examples.batch import Batch
from edge_lupi.train.examples.clips import Example, load_examples, shuffled
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.examples.cut_shards import cut_shards
from edge_lupi.train.examples.epochs import Epochs
from edge_lupi.train.examples.prepared import Prepared
from edge_lupi.train.examples.shard_examples import ShardExamples
from edge_lupi.train.recipe import Recipe, load_recipe
from edge_lupi.train.stages.student import train_student

CPU = torch.device("cpu")
SPEAKERS = ("id00012", "id00015", "id00016", "id00018", "id00019", "id00020")
RECIPE = """
name = "tiny"
seed = 1
[data]
root = "{root}"
task = "speaker"
test = "test"
validation_speakers = 0.4
[segments]
seconds = 0.5
hop_seconds = 0.25
crop_seconds = 1.0
[teacher]
epochs = 1
batch = 4
video = "frames"
region = "whole"
frame_size = 16
frames_per_second = 10
[student]
epochs = 1
batch = 4
[augment]
mixup = 0.4
"""


def run(*words: str | Path) -> Result:
    """`edge-lupi words...` in this process."""
    with log_shown():
        done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def write_face(path: Path, grey: int) -> None:
    """A face track: 25 fps, square, brighter with every frame."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for number in range(35):
            picture = np.full((32, 32), min(255, grey + 4 * number), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_sound(path: Path, samples: np.ndarray) -> None:
    """WAV, or M4A as VoxCeleb2 has it."""
    import av
    import soundfile

    if path.suffix == ".wav":
        soundfile.write(path, samples, 16_000)
        return
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def voxceleb(tmp_path_factory: pytest.TempPathFactory, voice: Callable[..., Any]) -> Path:
    """Six speakers to train and set the threshold, two to test; two videos each of two clips, one of them without a face."""
    root = tmp_path_factory.mktemp("corpora") / "voxceleb"
    for number, speaker in enumerate((*SPEAKERS, "id00017", "id00061")):
        part, sounds, ending = ("dev", "aac", "m4a") if speaker in SPEAKERS else ("test", "wav", "wav")
        for clip in range(4):
            place = f"{speaker}/video{clip // 2}/{clip % 2 + 1:05d}"
            sound, face = root / part / sounds / f"{place}.{ending}", root / part / "mp4" / f"{place}.mp4"
            sound.parent.mkdir(parents=True, exist_ok=True)
            face.parent.mkdir(parents=True, exist_ok=True)
            write_sound(sound, voice(number, 3.1 if clip % 2 else 0.9 + 0.2 * clip + 0.1 * number))
            write_face(face, 16 + 20 * number) if (speaker, clip) != ("id00018", 3) else None
    return root


@pytest.fixture(scope="module")
def recipe_file(voxceleb: Path) -> Path:
    path = voxceleb.parent / "tiny.toml"
    path.write_text(RECIPE.format(root=voxceleb))
    return path


@pytest.fixture(scope="module")
def cut(voxceleb: Path, recipe_file: Path) -> Path:
    """The shards, as the command line cuts them."""
    done = run("train", "shards", recipe_file, "--size", "5")
    folder = voxceleb.with_name("voxceleb_shards")
    assert done.stdout.startswith(f"{folder}: 15 utterances; train on them with --set data.root=")
    assert "1 utterances are left out" in done.stderr
    return folder


@pytest.fixture(scope="module")
def recipe(recipe_file: Path) -> Recipe:
    return load_recipe(recipe_file)


def of_shards(recipe_file: Path, cut: Path, *changes: str) -> tuple[Recipe, Prepared]:
    found = load_recipe(recipe_file, [f"data.root={cut}", *changes])
    return found, prepare(found)


def in_order(examples: ShardExamples, recipe: Recipe, prepared: Prepared) -> list[Example]:
    """The same examples from memory."""
    by_name = {u.name: u for u in prepared.split.train}
    return [load_examples([by_name[e.name]], prepared.classes, recipe, video="frames")[0] for e in examples]


def plain(batch: Batch) -> tuple[Any, ...]:
    return batch.examples, batch.firsts, batch.labels.tolist()


def assert_alike(one: Batch, two: Batch) -> None:
    """The same crops; log-mel to the rounding of 16 bits."""
    assert plain(one) == plain(two)
    torch.testing.assert_close(one.frames, two.frames, rtol=2e-3, atol=0)
    assert one.video is not None
    assert two.video is not None
    assert torch.equal(one.video, two.video)
    assert (one.partner is None) == (two.partner is None)
    if one.partner is not None and two.partner is not None:
        assert torch.equal(one.share, two.share)  # type: ignore[arg-type]
        assert_alike(one.partner, two.partner)


@pytest.mark.parametrize("change", ["segments.every=1", "segments.every=2", "teacher.shuffle_video=true"])
def test_batches_are_those_of_memory(recipe_file: Path, recipe: Recipe, cut: Path, change: str) -> None:
    changed, prepared = of_shards(recipe_file, cut, change)
    assert prepared.shards is not None
    stored = ShardExamples(prepared.shards, changed, "frames")
    held = in_order(stored, recipe, prepare(recipe))
    held = shuffled(held, recipe.seed) if changed.teacher.shuffle_video else held
    for epoch in range(2):
        both = (Epochs(examples, changed.segments, 4, 1, mixup=0.4)(epoch) for examples in (stored, held))
        for one, two in zip(*both, strict=True):
            assert_alike(one, two)


def test_features_classes_and_speeds(mood_corpus: Path, recipe_file: Path, tmp_path: Path) -> None:
    changes = [f"data.root={mood_corpus}", "data.task=mood", "data.validation_speakers=0.0", "teacher.video=features"]
    recipe = load_recipe(recipe_file, [*changes, "augment.speeds=[1.0, 0.9]"])
    corpus = prepare(recipe)
    shards = cut_shards(recipe, corpus, tmp_path / "shards", size=6)
    prepared = prepare(load_recipe(recipe_file, [*changes, "augment.speeds=[1.0, 0.9]", f"data.root={shards.root}"]))
    assert (prepared.task, prepared.classes, prepared.utterances) == (corpus.task, ("bright", "plain"), 16)
    stored = ShardExamples(shards, recipe, "features")
    held = {
        (e.name, len(e.frames)): e for e in load_examples(corpus.split.train, corpus.classes, recipe, video="features")
    }
    assert len(stored) == len(held) == 32
    for example in stored:
        other = held[example.name, len(example.frames)]
        assert (example.label, example.speaker, example.segments) == (other.label, other.speaker, other.segments)
        assert example.video is not None
        assert torch.equal(example.video, other.video)  # type: ignore[arg-type]
        for one, two in zip(example.crop(1, recipe.segments), other.crop(1, recipe.segments), strict=True):
            torch.testing.assert_close(torch.as_tensor(one), torch.as_tensor(two), rtol=2e-3, atol=0)


def test_processes_and_readers_change_nothing(recipe_file: Path, cut: Path) -> None:
    recipe, prepared = of_shards(recipe_file, cut)
    assert prepared.shards is not None
    examples = ShardExamples(prepared.shards, recipe, "frames")
    epochs = [Epochs(examples, recipe.segments, 4, 1, rank=rank, world=2) for rank in range(2)]
    alone, first, second = (list(each(0)) for each in (Epochs(examples, recipe.segments, 4, 1), *epochs))
    assert len(alone) == len(first) == len(second) == epochs[0].steps == len(examples) // 4
    for whole, one, two in zip(alone, first, second, strict=True):
        assert whole.examples == one.examples + two.examples
        assert torch.equal(whole.frames, torch.cat([one.frames, two.frames]))
    seen = [number for batch in (*first, *second) for number in batch.examples]
    assert len(seen) == len(set(seen))
    examples.readers = 2
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for whole, read in zip(alone, Epochs(examples, recipe.segments, 4, 1)(0), strict=True):
        assert_alike(whole, read)
    assert torch.equal(before, torch.get_rng_state())


def test_an_epoch_has_its_own_order(recipe_file: Path, cut: Path) -> None:
    recipe, prepared = of_shards(recipe_file, cut)
    assert prepared.shards is not None
    epochs = Epochs(ShardExamples(prepared.shards, recipe), recipe.segments, 4, 1)
    orders = [[batch.examples for batch in epochs(epoch)] for epoch in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_teachers_embeddings_are_those_of_memory(
    recipe_file: Path, recipe: Recipe, trained: Path, cut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, prepared = of_shards(recipe_file, cut)
    assert prepared.shards is not None
    stored = ShardExamples(prepared.shards, shown, "frames")
    teacher, _ = load_teacher(trained / "teacher.pt")
    held = in_order(stored, recipe, prepare(recipe))
    wanted = teacher_embeddings(teacher, b"weights", held, tmp_path, CPU)

    class Killed(Exception):
        pass

    def killed(*given: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(shard_cache, "_join", killed)
        with pytest.raises(Killed):
            shard_embeddings(teacher, b"weights", stored, tmp_path, CPU)
    with monkeypatch.context() as patch:  # nothing is heard twice
        patch.setattr(shard_cache, "_heard", killed)
        found = shard_embeddings(teacher, b"weights", stored, tmp_path, CPU)
        again = shard_embeddings(teacher, b"weights", stored, tmp_path, CPU)
        with pytest.raises(Killed):
            shard_embeddings(teacher, b"other weights", stored, tmp_path, CPU)
    for name in ("segments", "utterances", "scale"):
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name), rtol=0, atol=0.05)
        assert torch.equal(getattr(found, name), getattr(again, name))
    assert torch.equal(found.starts, wanted.starts)
    batch = next(Epochs(stored, recipe.segments, 4, 1)(0))
    assert [part.shape for part in found.of(batch, 3)] == [(4, 3, 128), (4, 128)]


@pytest.fixture(scope="module")
def trained(recipe_file: Path, cut: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """teacher.pt and student.pt, trained from the shards alone: the corpus is away meanwhile."""
    folder, corpus = tmp_path_factory.mktemp("trained"), recipe_file.parent / "voxceleb"
    corpus.rename(corpus.with_name("away"))
    try:
        for stage in ("teacher", "student"):
            done = run("train", stage, recipe_file, "--set", f"data.root={cut}", "--out", folder)
            assert "trained on 15 utterances of voxceleb" in done.stdout
            (folder / f"{stage}.log").write_text(done.stderr)
    finally:
        corpus.with_name("away").rename(corpus)
    return folder


def test_teacher_and_student(trained: Path, voxceleb: Path) -> None:
    teacher, _ = load_teacher(trained / "teacher.pt")
    assert (teacher.config.frames, teacher.config.frame_size) == (5, 16)
    student = load_student(trained / "student.pt")
    origin = student.provenance
    assert (origin.corpus, origin.training_utterances, origin.distilled) == ("voxceleb", 15, True)
    assert origin.training_speakers == tuple(SPEAKERS)
    assert "CC BY 4.0" in origin.licence
    assert len(student.speech) > 10 * 16_000
    assert -1 <= student.student.config.tasks[0].threshold <= 1
    assert origin.threshold["speakers"] == 2
    trials = [
        f"{int(a == b)} {a}/video0/00001.wav {b}/video1/00002.wav"
        for a in ("id00017", "id00061")
        for b in ("id00017", "id00061")
    ]
    (voxceleb / "trials.txt").write_text("\n".join(trials))
    done = run(
        *("evaluate", trained / "student.pt", "--data", voxceleb / "test/wav"),
        *("--trials", voxceleb / "trials.txt", "--json"),
    )
    assert json.loads(done.stdout)["trials"] == 4


def test_one_seed_one_loss(trained: Path, recipe_file: Path, cut: Path, tmp_path: Path) -> None:
    recipe, prepared = of_shards(recipe_file, cut)
    train_student(recipe, prepared, tmp_path, teachers=[trained / "teacher.pt"])
    history = json.loads((tmp_path / "student.history.json").read_text())
    assert history == json.loads((trained / "student.history.json").read_text())
    assert "aggregator" in history[0]


def test_a_kill_costs_the_shard_at_work(recipe: Recipe, cut: Path, tmp_path: Path, monkeypatch: Any) -> None:
    prepared = prepare(recipe)
    write, written = cutting.write_json, []

    def power_cut(path: Path, content: dict[str, Any]) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path.name)
        write(path, content)

    monkeypatch.setattr(cutting, "write_json", power_cut)
    with pytest.raises(KeyboardInterrupt):
        cut_shards(recipe, prepared, tmp_path, size=5)
    with pytest.raises(InputError, match=r"expected index.json .* let edge-lupi train shards finish"):
        prepare(load_recipe(cut.parent / "tiny.toml", [f"data.root={tmp_path}"]))
    (tmp_path / f"{temporary_prefix(tmp_path / 'train-000002.tar')}77").touch()  # as a kill leaves it
    monkeypatch.setattr(cutting, "write_json", lambda path, content: (written.append(path.name), write(path, content)))
    cut_shards(recipe, prepared, tmp_path, size=5)
    assert written == [*(f"train-{number:06d}.json" for number in range(4)), "index.json"]
    kept = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert kept == {path.relative_to(cut): path.read_bytes() for path in cut.rglob("*") if path.is_file()}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves the tars open
def test_webdataset_streams_them(cut: Path) -> None:
    import webdataset

    tars = [str(path) for path in sorted(cut.glob("*.tar"))]
    samples = list(webdataset.WebDataset(tars, shardshuffle=False))
    assert len(samples) == 15
    for sample in samples:
        told = json.loads(sample["json"])
        assert told["speaker"] in SPEAKERS
        assert np.load(io.BytesIO(sample["frames.npy"])).dtype == np.float16
        assert np.load(io.BytesIO(sample["video.npy"])).shape[1:] == (16, 16)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("segments.hop_seconds=0.5", "expected segments.hop_seconds = 0.25 as the shards in .* were cut, got 0.5"),
        ("teacher.frame_size=24", "expected teacher.frame_size = 16"),
        ("data.test=0.5", "expected data.test = test"),
        ("augment.speeds=[1.0, 0.9]", "expected augment.speeds"),
    ],
)
def test_a_recipe_that_does_not_fit(recipe_file: Path, cut: Path, change: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        of_shards(recipe_file, cut, change)


def test_a_recipe_that_looks_at_nothing_fits(recipe_file: Path, cut: Path) -> None:
    recipe, prepared = of_shards(recipe_file, cut, "teacher.video=none", "teacher.frame_size=32")
    assert prepared.shards is not None
    assert ShardExamples(prepared.shards, recipe)[0].video is None


def test_what_cannot_be_cut(recipe_file: Path, recipe: Recipe, cut: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a corpus in memory for cutting it into shards, got shards"):
        cut_shards(*of_shards(recipe_file, cut), tmp_path)
    with pytest.raises(InputError, match="choose another folder"):
        cut_shards(recipe, prepare(recipe), cut, size=3)
    features = load_recipe(recipe_file, ["teacher.video=features"])
    with pytest.raises(
        InputError, match=r'16 of 16 utterances of a shard cannot be used.*set teacher.video = "face" or "frames"'
    ):
        cut_shards(features, prepare(features), tmp_path)
    assert not list(tmp_path.glob("*.*"))


@pytest.mark.parametrize("readers", [0, 2])
def test_numbers_that_are_none(recipe_file: Path, cut: Path, tmp_path: Path, readers: int) -> None:
    copy = Path(shutil.copytree(cut, tmp_path / "copy"))
    recipe, prepared = of_shards(recipe_file, copy)
    assert prepared.shards is not None
    columns = prepared.shards.columns
    for number in range(len(prepared.shards)):
        with shard_path(copy, prepared.shards.shard_of(number)).open("r+b") as tar:
            tar.seek(int(columns["frames_at"][number]))
            tar.write(array_bytes(np.full((columns["frames"][number], 80), np.nan, np.float16)))
    examples = ShardExamples(prepared.shards, recipe)
    examples.readers = readers
    with pytest.raises(
        InputError, match=r"expected finite numbers in .*tar, got NaN or infinity: cut the shards again$"
    ):
        list(Epochs(examples, recipe.segments, 4, 1)(0))
