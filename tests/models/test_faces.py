"""A table of own videos: faces are looked for once, what was not seen is masked and counted, and nothing of it is lost by a kill."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edge_lupi.data.faces import FEATURES
from edge_lupi.data.readers.table import read_table
from edge_lupi.data.utterance import Utterance, Video
from edge_lupi.disk import TEMPORARY
from edge_lupi.errors import InputError
from edge_lupi.evaluate.measure import report
from edge_lupi.evaluate.trained import open_trained
from edge_lupi.models import faces
from edge_lupi.models.files import load_teacher
from edge_lupi.train.examples.clips import Example, load_examples, shuffled
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.examples.cut_shards import cut_shards
from edge_lupi.train.examples.shard_examples import ShardExamples
from edge_lupi.train.recipe import Recipe, load_recipe
from edge_lupi.train.stages.student import train_student
from edge_lupi.train.stages.teacher import train_teacher

RECIPE = """
name = "own"
[data]
root = "{table}"
task = "command"
test = "test"
[segments]
seconds = 0.4
hop_seconds = 0.2
crop_seconds = 1.0
[teacher]
video = "face"
frame_size = 24
epochs = 2
batch = 4
face_model = "{model}"
"""
SHORT = {"lrwp9a": "lay", "lbbc2a": "lay", "bbaf2n": "bin", "brbk7n": "bin", "sbia1a": "set", "swiz3n": "set"}


@pytest.fixture(scope="module")
def table(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """own.csv: six people, a second and a half each; then one without video, and one whom the camera did not see."""
    import soundfile

    from edge_lupi.sound.audio import read_audio

    folder = tmp_path_factory.mktemp("own")
    lines = [["audio", "label", "speaker", "video", "split"]]
    for number, (name, label) in enumerate([*SHORT.items(), ("lbax4n", "lay"), ("sbwe5n", "set")]):
        video = data_root / "grid_s1_av" / "multi_speaker_originals" / f"{name}.mpg"
        soundfile.write(folder / f"{name}.wav", read_audio(video)[:24_000], 16_000)
        seen = {"lbax4n": "", "sbwe5n": "wall.mp4"}.get(name, str(video))
        lines.append(
            [f"{name}.wav", label, f"talker{number}", seen, "test" if name in ("lbbc2a", "swiz3n") else "train"]
        )
    with (folder / "own.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    return folder / "own.csv"


@pytest.fixture
def recipe_file(table: Path, video_file: Callable[..., Path], face_task: Path, tmp_path: Path) -> Path:
    shutil.move(video_file("wall.mp4", 1.6, 64, 64, sound=False), table.parent / "wall.mp4")
    path = tmp_path / "own.toml"
    path.write_text(RECIPE.format(table=table, model=face_task))
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("RANK", raising=False)
    return tmp_path / "cache" / "edge-lupi" / "faces"


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The videos that a face is looked for in."""
    found: list[Path] = []
    rows = faces.FaceFinder.rows
    monkeypatch.setattr(
        faces.FaceFinder, "rows", lambda self, video, times: found.append(video) or rows(self, video, times)
    )
    return found


def seen(recipe: Recipe, table: Path) -> dict[str, Example]:
    utterances = [u for u in read_table(table).utterances if u.split == "train"]
    labels = ("bin", "lay", "set")
    return {e.name: e for e in load_examples(utterances, labels, recipe, video=recipe.teacher.video)}


def test_what_was_not_seen_is_masked_and_counted(
    recipe_file: Path, table: Path, cache: Path, looked: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = load_recipe(recipe_file)
    first = seen(recipe, table)
    told = capsys.readouterr().err
    found = re.search(
        r"^faces in (\d+) of (\d+) frames of 5 clips; masked: 1 without a face and 1 without video$", told, re.M
    )
    assert found, told
    assert int(found[2]) - int(found[1]) == len(
        faces._rows(faces._look(wall(table), 6, recipe.sight(), 1.0), recipe.sight())
    )  # type: ignore[arg-type]
    for name, example in first.items():
        assert example.video is not None
        assert example.video.shape == (6, FEATURES)
        masked = name in ("lbax4n.wav", "sbwe5n.wav")
        assert torch.isnan(example.video[:, :-1]).all() == masked
        assert example.video[:, -1].tolist() == [0.0 if masked else 1.0] * 6
    assert len(looked) == 5
    assert {path.stat().st_mode & 0o777 for path in cache.glob("*/*.npy")} == {0o600}
    assert cache.stat().st_mode & 0o777 == 0o700
    again = seen(recipe, table)
    assert len(looked) == 5, "nobody looks twice"
    for name, example in again.items():
        torch.testing.assert_close(example.video, first[name].video, equal_nan=True, rtol=0, atol=0)


def wall(table: Path) -> Utterance:
    return next(u for u in read_table(table).utterances if u.name == "sbwe5n.wav")


def test_what_is_kept_is_of_this_video_alone(recipe_file: Path, table: Path, cache: Path, looked: list[Path]) -> None:
    recipe = load_recipe(recipe_file)
    seen(recipe, table)
    for path in cache.glob("*/*.npy"):
        path.write_bytes(path.read_bytes()[:-10])  # as a disk that was full left it
    seen(recipe, table)
    assert len(looked) == 10
    (table.parent / "wall.mp4").write_bytes((table.parent / "wall.mp4").read_bytes() + b"\0")
    seen(recipe, table)
    assert looked[10:] == [table.parent / "wall.mp4"]
    seen(replace(recipe, teacher=replace(recipe.teacher, frames_per_second=12)), table)
    assert len(looked) == 16
    longer = replace(recipe, segments=replace(recipe.segments, crop_seconds=1.6))
    seen(longer, table)
    assert len(looked) == 21
    seen(recipe, table)
    assert len(looked) == 21, "what is known of a longer stretch is known of a shorter one"


def test_crops_of_faces_for_raw_frames(recipe_file: Path, table: Path, cache: Path) -> None:
    recipe = load_recipe(recipe_file, ["teacher.video=frames", "teacher.region=face"])
    for name, example in seen(recipe, table).items():
        assert example.video is not None
        assert (example.video.shape, example.video.dtype) == ((6, 10, 24, 24), torch.uint8)
        dark = example.video.amax((2, 3)) == 0
        assert dark.all() if name in ("lbax4n.wav", "sbwe5n.wav") else not dark.any()


def test_faces_keep_pace_with_sound_at_another_speed(recipe_file: Path, table: Path, cache: Path) -> None:
    recipe = load_recipe(recipe_file)
    own = next(u for u in read_table(table).utterances if u.name == "lrwp9a.wav")
    plain = faces._rows(faces._look(own, 6, recipe.sight(), 1.0), recipe.sight())  # type: ignore[arg-type]
    fast = faces._rows(faces._look(own, 2, recipe.sight(), 2.0), recipe.sight())  # type: ignore[arg-type]
    assert np.array_equal(fast, plain[::2][: len(fast)])


def test_shuffled_faces(recipe_file: Path, table: Path, cache: Path) -> None:
    own = list(seen(load_recipe(recipe_file), table).values())
    other = shuffled(own, 0)
    assert all(not torch.equal(a.video.nan_to_num(), b.video.nan_to_num()) for a, b in zip(own, other, strict=True))  # type: ignore[union-attr]


def test_features_are_no_video(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file)
    with pytest.raises(InputError, match=r'expected a video file for a, got features: set teacher\.video = "features"'):
        faces.face_sight(Utterance("a", Path("a.wav"), "bin", video=Video(features=(1.0,))), 6, recipe.sight("face"))


@pytest.mark.parametrize("kind", ["face", "frames"])
def test_a_teacher_of_own_videos(recipe_file: Path, table: Path, cache: Path, tmp_path: Path, kind: str) -> None:
    """Trained, measured and taken up by a student."""
    changes = [
        f"teacher.video={kind}",
        "teacher.region=face",
        "student.epochs=1",
        "student.batch=4",
        "student.size=pico",
    ]
    recipe = load_recipe(recipe_file, changes)
    path = train_teacher(recipe, prepare(recipe), tmp_path)
    teacher, _ = load_teacher(path)
    assert teacher.config.video == kind
    assert all(value.isfinite().all() for value in teacher.state_dict().values())
    model = open_trained(path, None)
    assert report(model, table, None, split="test").plain()["utterances"] == 2
    if kind == "face":
        samples = np.zeros(24_000, np.float32)
        absent = model.answer(samples, replace(wall(table), video=None)).embedding
        assert np.isfinite(absent).all()
        np.testing.assert_allclose(model.answer(samples, wall(table)).embedding, absent, rtol=1e-5, atol=1e-6)
        own = next(u for u in read_table(table).utterances if u.name == "lrwp9a.wav")
        assert np.abs(model.answer(samples, own).embedding - absent).max() > 1e-3
    assert train_student(recipe, prepare(recipe), tmp_path, teachers=[path]).is_file()


def test_a_teacher_is_nothing_without_any_face(recipe_file: Path, table: Path, cache: Path, tmp_path: Path) -> None:
    rows = [line.split(",") for line in table.read_text().splitlines()]
    walls = [",".join([*row[:3], "wall.mp4" if number % 2 else "", row[4]]) for number, row in enumerate(rows[1:])]
    (table.parent / "walls.csv").write_text("\n".join([",".join(rows[0]), *walls]) + "\n")
    recipe = load_recipe(recipe_file, [f"data.root={table.parent / 'walls.csv'}"])
    with pytest.raises(InputError, match="expected a face in some video of walls, got none in 6 clips"):
        train_teacher(recipe, prepare(recipe), tmp_path)


def test_one_video_that_cannot_be_read(recipe_file: Path, table: Path, cache: Path, tmp_path: Path) -> None:
    (table.parent / "wall.mp4").write_bytes(b"\0\0\0\x20ftypisom" + os.urandom(4000))
    recipe = load_recipe(recipe_file)
    with pytest.raises(InputError, match=r"expected a video in \S+wall\.mp4, got something else .*: convert it to MP4"):
        train_teacher(recipe, prepare(recipe), tmp_path)


def test_a_teacher_sees_by_the_model_it_has_learnt_with(
    recipe_file: Path, table: Path, cache: Path, tmp_path: Path, face_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved, other = tmp_path / "moved.task", tmp_path / "other.task"
    shutil.copy(face_task, moved)
    other.write_bytes(face_task.read_bytes() + b"\0")
    recipe = load_recipe(recipe_file, [f"teacher.face_model={moved}", "teacher.epochs=1"])
    path = train_teacher(recipe, prepare(recipe), tmp_path)
    moved.unlink()
    monkeypatch.setenv("EDGE_LUPI_FACE_MODEL", str(face_task))
    assert report(open_trained(path, None), table, None, split="test").plain()["utterances"] == 2
    monkeypatch.setenv("EDGE_LUPI_FACE_MODEL", str(other))
    with pytest.raises(
        InputError, match="expected the model of faces that the teacher has learnt with, got another at"
    ):
        open_trained(path, None)


def test_faces_in_shards(recipe_file: Path, table: Path, cache: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file)
    shards = cut_shards(recipe, prepare(recipe), tmp_path / "shards", size=3)
    read = {example.name: example.video for example in ShardExamples(shards, recipe, "face")}
    for name, example in seen(recipe, table).items():
        torch.testing.assert_close(read[name], example.video, equal_nan=True, rtol=0, atol=0)


def test_killed_and_beside_each_other(recipe_file: Path, cache: Path, tmp_path: Path) -> None:
    """One is killed as it writes; two then do what is left, and nothing half-written stays."""

    def begin(name: str) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            "edge_lupi.cli",
            "train",
            "teacher",
            str(recipe_file),
            "--out",
            str(tmp_path / name),
        ]
        return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)

    killed = begin("killed")
    until = time.monotonic() + 60
    while killed.poll() is None and not any(path.name.startswith(TEMPORARY) for path in cache.glob("*/.*")):
        assert time.monotonic() < until
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    both = [begin("one"), begin("two")]
    for process in both:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        assert "frames of 5 clips" in said
    assert len(list(cache.glob("*/*.npy"))) == 5
    one, two = (load_teacher(tmp_path / name / "teacher.pt")[0].state_dict() for name in ("one", "two"))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_nothing_is_sent_and_only_we_speak(recipe_file: Path, tmp_path: Path) -> None:
    """Connections are seen where strace is there."""
    log = tmp_path / "log"
    command = ["strace", "-f", "-o", str(log), "-e", "trace=network"] if shutil.which("strace") else []
    command += [sys.executable, "-m", "edge_lupi.cli", "train", "teacher", str(recipe_file), "--out", str(tmp_path)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    ours = ("8 utterances: ", "faces  clip ", "faces in ", "teacher  ")
    assert [line for line in done.stderr.splitlines() if not line.startswith(ours)] == []
    assert done.stderr.count("masked: 1 without a face and 1 without video") == 1
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    local = {"AF_UNIX", "AF_NETLINK", "AF_UNSPEC"}
    assert [line for line in lines if set(re.findall(r"AF_[A-Z0-9]+", line)) - local] == []
