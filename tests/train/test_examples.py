"""Crops on the grid of hops, the same for the same seed, and the teacher's rows that belong to them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edge_lupi.audio import from_pcm, to_pcm
from edge_lupi.bundle import Task
from edge_lupi.data.utterance import Utterance, Video
from edge_lupi.errors import InputError
from edge_lupi.frames import CONTEXT_SAMPLES
from edge_lupi.models.front_end import cut, log_mel
from edge_lupi.models.teacher import Teacher, TeacherConfig
from edge_lupi.train import cache
from edge_lupi.train.cache import teacher_embeddings
from edge_lupi.train.examples import Batch, Example, batches, load_examples, video_of
from edge_lupi.train.recipe import AugmentRecipe, DataRecipe, Recipe, SegmentRecipe

CUT = SegmentRecipe(seconds=0.5, hop_seconds=0.25, crop_seconds=1.0)
RECIPE = Recipe("x", DataRecipe("there", "mood", "test"), segments=CUT)
HOP = CUT.segmentation.hop_samples
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def examples(voice: Callable[..., Any]) -> list[Example]:
    """Eleven voices of 1.0 to 2.5 s, with a video feature that is the number of the segment."""
    made = []
    for number in range(11):
        samples = to_pcm(voice(number, 1.0 + 0.15 * number))
        segments = CUT.segmentation.count(len(samples) // 160)
        seen = torch.arange(float(segments))[:, None].expand(-1, 3)
        made.append(Example(f"u{number}", samples, number % 2, f"s{number}", segments, seen))
    return made


def test_crops_begin_on_the_grid_with_what_came_before(examples: list[Example]) -> None:
    for batch in batches(examples, CUT, 4, seed=1):
        assert batch.samples.shape == (4, CONTEXT_SAMPLES + 16_000)
        for row, (index, first) in enumerate(zip(batch.examples, batch.firsts, strict=True)):
            whole = np.concatenate([np.zeros(CONTEXT_SAMPLES, np.float32), from_pcm(examples[index].samples)])
            wanted = whole[first * HOP : first * HOP + CONTEXT_SAMPLES + 16_000]
            np.testing.assert_array_equal(batch.samples[row, : len(wanted)].numpy(), wanted)
            assert batch.labels[row] == examples[index].label
            assert batch.video is not None
            assert batch.video[row, :, 0].tolist() == [first, first + 1, first + 2]


def test_a_crops_segments_are_segments_of_the_whole(examples: list[Example]) -> None:
    batch = next(batches(examples, CUT, 8, seed=2))
    crops = cut(log_mel(batch.samples, with_context=True), CUT.segmentation)
    for row, (index, first) in enumerate(zip(batch.examples, batch.firsts, strict=True)):
        whole = cut(log_mel(torch.from_numpy(from_pcm(examples[index].samples))[None]), CUT.segmentation)
        torch.testing.assert_close(crops[row], whole[0, first : first + 3], rtol=0, atol=1e-4)


def plain(batch: Batch) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return batch.examples, batch.firsts


def test_one_seed_one_order(examples: list[Example]) -> None:
    once, again = list(batches(examples, CUT, 4, seed=5)), list(batches(examples, CUT, 4, seed=5))
    assert len(once) == 2  # 11 by 4; the rest waits for another epoch
    assert all(torch.equal(a.samples, b.samples) and plain(a) == plain(b) for a, b in zip(once, again, strict=True))
    assert list(map(plain, batches(examples, CUT, 4, seed=6))) != list(map(plain, once))


def test_two_processes_hold_the_batch_of_one(examples: list[Example]) -> None:
    alone = list(batches(examples, CUT, 6, seed=5))
    ranks = [list(batches(examples, CUT, 6, seed=5, rank=rank, world=2)) for rank in range(2)]
    for whole, *parts in zip(alone, *ranks, strict=True):
        rows = {row for part in parts for row in zip(part.examples, part.firsts, strict=True)}
        assert rows == set(zip(whole.examples, whole.firsts, strict=True))
        assert sum(len(part.examples) for part in parts) == 6


def test_every_crop_can_be_drawn(examples: list[Example]) -> None:
    long = max(examples, key=lambda example: example.segments)
    firsts = {batch.firsts[0] for seed in range(60) for batch in batches([long, long], CUT, 2, seed=seed)}
    assert firsts == set(range(long.segments - 2))


def utterance(path: Path, **more: Any) -> Utterance:
    return Utterance(path.stem, path, "a", "s", **more)


def test_short_ones_are_padded_to_a_crop_and_speeds_are_other_voices(
    voice: Callable[..., Any], sound_file: Callable[..., Path]
) -> None:
    path = sound_file("short.wav", voice(1, 0.7))
    recipe = replace(RECIPE, augment=AugmentRecipe(speeds=(1.0, 0.5)))
    plain_one, slow = load_examples([utterance(path)], ("a", "b"), recipe)
    assert (len(plain_one.samples), plain_one.segments, len(slow.samples)) == (16_000, 3, 22_400)
    assert not plain_one.samples[11_200:].any()
    assert (plain_one.label, slow.label) == (0, 0)
    speakers = replace(recipe, data=replace(recipe.data, task="speaker"))
    assert [e.label for e in load_examples([utterance(path)], ("a", "b"), speakers)] == [0, 2]


def test_features_of_a_clip_are_those_of_every_segment(tmp_path: Path) -> None:
    seen = video_of(utterance(tmp_path, video=Video(features=(1.0, 2.0))), 3, RECIPE, "features")
    assert seen.tolist() == [[1, 2]] * 3


def test_features_per_frame_are_averaged_in_every_segment(tmp_path: Path) -> None:
    np.save(tmp_path / "seen.npy", np.arange(25.0)[:, None])  # 1 s at 25 frames per second
    one = utterance(tmp_path, video=Video(path=tmp_path / "seen.npy"))
    seen = video_of(one, 6, RECIPE, "features")
    assert seen.shape == (6, 1)
    assert seen[:2, 0].tolist() == [np.arange(12).mean(), np.arange(6, 18).mean()]
    assert seen[5] == 24  # the file is short: its last row stands still


def test_frames_per_segment(video_file: Callable[..., Path]) -> None:
    recipe = replace(RECIPE, teacher=replace(RECIPE.teacher, frame_size=24))
    seen = video_of(utterance(video_file("a.mp4"), video=Video(path=video_file("a.mp4"))), 3, recipe, "frames")
    assert (seen.shape, seen.dtype) == ((3, 12, 24, 24), torch.uint8)
    greys = seen.float().mean((2, 3))
    assert (greys[:, 1:] > greys[:, :-1]).all()  # the clip brightens frame by frame
    assert abs(greys[1, 0] - greys[0, 6]) < 3  # 0.25 s later


@pytest.mark.parametrize(
    ("video", "kind", "words"),
    [
        (None, "features", 'got none: set teacher.video = "none"'),
        (Video(path=Path("a.mp4")), "features", 'set teacher.video = "frames"'),
        (Video(features=(1.0,)), "frames", 'set teacher.video = "features"'),
        (Video(path=Path("a.npy")), "frames", 'set teacher.video = "features"'),
        (Video(path=Path("none.npy")), "features", "expected features float"),
    ],
)
def test_video_of_the_wrong_kind(video: Video | None, kind: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        video_of(utterance(Path("a.wav"), video=video), 3, RECIPE, kind)


@pytest.mark.parametrize("content", [np.zeros(5), np.array([[np.nan]]), np.zeros((0, 3)), np.array([{"a": 1}])])
def test_features_that_are_none(tmp_path: Path, content: Any) -> None:
    np.save(tmp_path / "bad.npy", content)
    with pytest.raises(InputError, match="features float"):
        video_of(utterance(tmp_path, video=Video(path=tmp_path / "bad.npy")), 3, RECIPE, "features")


def test_features_of_two_widths_are_refused(sound_file: Callable[..., Path], voice: Callable[..., Any]) -> None:
    path = sound_file("a.wav", voice(1, 1.0))
    two = [utterance(path, video=Video(features=(0.0,) * width)) for width in (3, 4)]
    with pytest.raises(InputError, match="as many features"):
        load_examples(two, ("a", "b"), RECIPE, video="features")


@pytest.fixture
def teacher() -> Teacher:
    torch.manual_seed(0)
    task = Task("mood", "classification", ("a", "b"))
    return Teacher(TeacherConfig("nano", "sequential", CUT.segmentation, task, "features", features=3)).eval()


def test_the_teachers_rows_are_those_of_the_crops(teacher: Teacher, examples: list[Example], tmp_path: Path) -> None:
    known = teacher_embeddings(teacher, b"weights", examples, tmp_path, CPU)
    assert known.starts.tolist() == np.cumsum([0, *(example.segments for example in examples)]).tolist()
    torch.testing.assert_close(known.segments.std(0), torch.ones(128), rtol=0, atol=1e-3)  # standardised
    batch = next(batches(examples, CUT, 8, seed=3))
    encoded, aggregated = known.of(batch, 3)
    assert (encoded.shape, aggregated.shape) == ((8, 3, 128), (8, 128))
    for row, (index, first) in enumerate(zip(batch.examples, batch.firsts, strict=True)):
        assert torch.equal(aggregated[row], known.utterances[index])
        begin = int(known.starts[index]) + first
        assert torch.equal(encoded[row], known.segments[begin : begin + 3])
    with torch.no_grad():  # one row, from the network itself
        index, first = batch.examples[0], batch.firsts[0]
        assert batch.video is not None
        crop = cut(log_mel(batch.samples[:1], with_context=True), CUT.segmentation)
        heard = teacher(crop, batch.video[:1]).segments[0]
    raw = torch.nn.functional.cosine_similarity((heard[1] - heard[0])[None], (heard[2] - heard[0])[None])
    spread = known_spread(teacher, examples)
    scaled = heard / spread
    torch.testing.assert_close(scaled[1] - scaled[0], encoded[0, 1] - encoded[0, 0], rtol=1e-2, atol=1e-2)
    assert raw.isfinite().all()


def known_spread(teacher: Teacher, examples: list[Example]) -> torch.Tensor:
    """The deviation per channel over all segments of all examples."""
    every = []
    with torch.no_grad():
        for example in examples:
            assert example.video is not None
            frames = log_mel(torch.from_numpy(from_pcm(example.samples))[None])
            every.append(teacher(cut(frames, CUT.segmentation), example.video[None]).segments[0])
    return torch.cat(every).std(0).clamp_min(1e-4)


def test_the_cache_is_used_again_until_something_changes(
    teacher: Teacher, examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    compute = cache._compute
    monkeypatch.setattr(cache, "_compute", lambda *given: computed.append(1) or compute(*given))
    few = examples[:3]
    first = teacher_embeddings(teacher, b"weights", few, tmp_path, CPU)
    again = teacher_embeddings(teacher, b"weights", few, tmp_path, CPU)
    assert len(computed) == 1
    assert torch.equal(first.segments, again.segments)
    teacher_embeddings(teacher, b"other weights", few, tmp_path, CPU)
    louder = [replace(few[0], samples=few[0].samples // 2), *few[1:]]
    teacher_embeddings(teacher, b"other weights", louder, tmp_path, CPU)
    assert few[0].video is not None
    blinking = [replace(few[0], video=few[0].video + 1), *few[1:]]
    teacher_embeddings(teacher, b"other weights", blinking, tmp_path, CPU)
    assert len(computed) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["teacher_embeddings.npz"]


def test_a_damaged_cache_is_computed_again(teacher: Teacher, examples: list[Example], tmp_path: Path) -> None:
    whole = teacher_embeddings(teacher, b"weights", examples[:3], tmp_path, CPU)
    file = tmp_path / "teacher_embeddings.npz"
    for content in (b"", b"text", file.read_bytes()[:1000]):
        file.write_bytes(content)
        assert torch.equal(
            teacher_embeddings(teacher, b"weights", examples[:3], tmp_path, CPU).segments, whole.segments
        )
