"""Crops on the grid of hops, the same for the same seed, and what teachers say of them."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edge_lupi.data.utterance import Utterance, Video
from edge_lupi.errors import InputError
from edge_lupi.frames import LOG_FLOOR
from edge_lupi.models.front_end import cut, log_mel
from edge_lupi.models.sight import video_of
from edge_lupi.models.teacher import Teacher, TeacherConfig
from edge_lupi.task import Task
from edge_lupi.train.distil import embeddings as cache
from edge_lupi.train.distil.embeddings import given_outputs, teacher_embeddings
from edge_lupi.train.distil.learning import margin_header
from edge_lupi.train.examples.augment import disturbed_segments
from edge_lupi.train.examples.batch import Batch
from edge_lupi.train.examples.clips import Example, load_examples, segments_of, shuffled
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.examples.draw import Draw
from edge_lupi.train.examples.epochs import batches
from edge_lupi.train.examples.prepared import Prepared
from edge_lupi.train.recipe import AugmentRecipe, DataRecipe, Recipe, SegmentRecipe

CUT = SegmentRecipe(seconds=0.5, hop_seconds=0.25, crop_seconds=1.0)
RECIPE = Recipe("x", DataRecipe("there", "mood", "test"), segments=CUT)
HOP = CUT.segmentation.hop_frames
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def examples(voice: Callable[..., Any]) -> list[Example]:
    """Eleven voices of 1.0 to 2.5 s, with a video feature that is the number of the segment."""
    made = []
    for number in range(11):
        frames = log_mel(torch.from_numpy(voice(number, 1.0 + 0.15 * number))[None])[0, :, 0].T.numpy().copy()
        segments = CUT.segmentation.count(len(frames))
        seen = torch.arange(float(segments))[:, None].expand(-1, 3)
        made.append(Example(f"u{number}", frames, number % 2, f"s{number}", segments, seen))
    return made


def test_crops_begin_on_the_grid(examples: list[Example]) -> None:
    for batch in batches(examples, CUT, 4, seed=1):
        assert batch.frames.shape == (4, 80, 1, 100)
        for row, (index, first) in enumerate(zip(batch.examples, batch.firsts, strict=True)):
            wanted = examples[index].frames[first * HOP : first * HOP + 100]
            np.testing.assert_array_equal(batch.frames[row, :, 0].T.numpy(), wanted)
            assert batch.labels[row] == examples[index].label
            assert batch.video is not None
            assert batch.video[row, :, 0].tolist() == [first, first + 1, first + 2]


def test_a_crops_segments_are_segments_of_the_whole(examples: list[Example]) -> None:
    batch = next(batches(examples, CUT, 8, seed=2))
    crops = cut(batch.frames, CUT.segmentation)
    for row, (index, first) in enumerate(zip(batch.examples, batch.firsts, strict=True)):
        whole = segments_of(examples[index].frames, CUT.segmentation)
        assert torch.equal(crops[row], whole[0, first : first + 3])


def test_every_second_segment_is_heard_and_seen(examples: list[Example]) -> None:
    recipe = replace(
        RECIPE, segments=replace(CUT, every=2), augment=AugmentRecipe(0.0, 0.0, time_mask_frames=0, mel_mask=0)
    )
    batch = next(batches(examples, recipe.segments, 4, seed=1))
    assert batch.video is not None
    assert batch.video[:, :, 0].tolist() == [[first, first + 2] for first in batch.firsts]
    heard = disturbed_segments(batch.frames, recipe, Draw(1))
    assert torch.equal(heard, cut(batch.frames, CUT.segmentation)[:, [0, 2]])


def plain(batch: Batch) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return batch.examples, batch.firsts


def test_one_seed_one_order(examples: list[Example]) -> None:
    once, again = list(batches(examples, CUT, 4, seed=5)), list(batches(examples, CUT, 4, seed=5))
    assert len(once) == 2  # 11 by 4; the rest waits for another epoch
    assert all(torch.equal(a.frames, b.frames) and plain(a) == plain(b) for a, b in zip(once, again, strict=True))
    assert list(map(plain, batches(examples, CUT, 4, seed=6))) != list(map(plain, once))


def test_two_processes_hold_the_batch_of_one(examples: list[Example]) -> None:
    alone = list(batches(examples, CUT, 4, seed=5, mixup=0.4))
    ranks = [list(batches(examples, CUT, 4, seed=5, mixup=0.4, rank=rank, world=2)) for rank in range(2)]
    for whole, *parts in zip(alone, *ranks, strict=True):
        assert plain(whole) == tuple(sum(rows, ()) for rows in zip(*map(plain, parts), strict=True))
        assert torch.equal(torch.cat([part.mixed().frames for part in parts]), whole.mixed().frames)


def test_mixed_crops_are_two_of_one_batch(examples: list[Example]) -> None:
    alone = list(batches(examples, CUT, 5, seed=5))
    for before, batch in zip(alone, batches(examples, CUT, 5, seed=5, mixup=0.4), strict=True):
        assert torch.equal(batch.frames, before.frames)  # whoever is mixed in
        partner, share, mixed = batch.partner, batch.share, batch.mixed()
        assert partner is not None
        assert share is not None
        assert ((share >= 0.5) & (share <= 1)).all()
        assert sorted(partner.examples) == sorted(batch.examples)
        for row, index in enumerate(partner.examples):
            assert partner.labels[row] == examples[index].label
            other = batch.examples.index(index)
            assert torch.equal(partner.frames[row], batch.frames[other])
            for made, parts in ((mixed.frames, batch.frames), (mixed.video, batch.video)):
                assert made is not None
                assert parts is not None
                torch.testing.assert_close(made[row], share[row] * parts[row] + (1 - share[row]) * parts[other])
        assert torch.equal(mixed.labels, batch.labels)
    assert alone[0].mixed() is alone[0]


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
    assert (len(plain_one.frames), plain_one.segments, len(slow.frames)) == (100, 3, 140)
    assert (plain_one.frames[72:] == np.log(np.float32(LOG_FLOOR))).all()
    assert (plain_one.label, slow.label) == (0, 0)
    speakers = replace(recipe, data=replace(recipe.data, task="speaker"))
    assert [e.label for e in load_examples([utterance(path)], ("a", "b"), speakers)] == [0, 2]


def test_a_second_task_that_compares_voices_counts_speeds_as_voices(
    voice: Callable[..., Any], sound_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_lupi.task.VERIFICATION_TASKS", ("speaker", "singer"))
    folder = sound_file("ann/1.wav", voice(1, 0.7)).parent
    sound_file("ben/1.wav", voice(2, 0.7))
    data = DataRecipe(str(folder.parent), "singer", test=())
    recipe = replace(RECIPE, data=data, augment=AugmentRecipe(speeds=(1.0, 0.5)))
    prepared = prepare(recipe)
    assert prepared.task == Task("singer", "verification")
    assert {u.speaker for u in prepared.split.train} == {"ann", "ben"}
    examples = load_examples(prepared.split.train, prepared.classes, recipe)
    header = margin_header(recipe, prepared, 8)
    assert header is not None
    assert sorted(e.label for e in examples) == [0, 1, 2, 3] == list(range(len(header.weight)))


def test_for_the_control_everyone_is_shown_another(examples: list[Example]) -> None:
    own = [replace(e, video=torch.full((e.segments, 1), float(place))) for place, e in enumerate(examples)]
    orders = set()
    for seed in range(5):
        moved = shuffled(own, seed)
        seen = [int(example.video[0]) for example in moved if example.video is not None]
        assert sorted(seen) == list(range(11))
        assert all(whose != place for place, whose in enumerate(seen))
        assert [len(e.video) for e in moved if e.video is not None] == [e.segments for e in own]
        assert all(a.frames is b.frames and a.label == b.label for a, b in zip(moved, own, strict=True))
        orders.add(tuple(seen))
    assert len(orders) == 5


def test_features_of_a_clip_are_those_of_every_segment(tmp_path: Path) -> None:
    seen = video_of(utterance(tmp_path, video=Video(features=(1.0, 2.0))), 3, RECIPE.sight("features"))
    assert seen.tolist() == [[1, 2]] * 3


def test_features_per_frame_are_averaged_in_every_segment(tmp_path: Path) -> None:
    np.save(tmp_path / "seen.npy", np.arange(25.0)[:, None])  # 1 s at 25 frames per second
    one = utterance(tmp_path, video=Video(path=tmp_path / "seen.npy"))
    seen = video_of(one, 6, RECIPE.sight("features"))
    assert seen.shape == (6, 1)
    assert seen[:2, 0].tolist() == [np.arange(12).mean(), np.arange(6, 18).mean()]
    assert seen[5] == 24  # the file is short: its last row stands still


def test_frames_per_segment(video_file: Callable[..., Path]) -> None:
    recipe = replace(RECIPE, teacher=replace(RECIPE.teacher, frame_size=24))
    seen = video_of(utterance(video_file("a.mp4"), video=Video(path=video_file("a.mp4"))), 3, recipe.sight("frames"))
    assert (seen.shape, seen.dtype) == ((3, 12, 24, 24), torch.uint8)
    greys = seen.float().mean((2, 3))
    assert (greys[:, 1:] > greys[:, :-1]).all()  # the clip brightens frame by frame
    assert abs(greys[1, 0] - greys[0, 6]) < 3  # 0.25 s later


def test_sight_keeps_pace_with_sound_at_another_speed(tmp_path: Path, video_file: Callable[..., Path]) -> None:
    np.save(tmp_path / "seen.npy", np.arange(50.0)[:, None])
    one = utterance(tmp_path, video=Video(path=tmp_path / "seen.npy"))
    seen = video_of(one, 3, RECIPE.sight("features"), 2.0)[:, 0]
    assert seen.tolist() == [np.arange(first, first + 25).mean() for first in (0, 12, 25)]
    recipe = replace(RECIPE, teacher=replace(RECIPE.teacher, frame_size=24))
    clip = utterance(tmp_path, video=Video(path=video_file("a.mp4")))
    plain, fast = (video_of(clip, 1, recipe.sight("frames"), speed)[0].float().mean((1, 2)) for speed in (1.0, 2.0))
    torch.testing.assert_close(fast[:6], plain[::2], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("video", "kind", "words"),
    [
        (None, "features", 'got none: set teacher.video = "none"'),
        (Video(path=Path("a.mp4")), "features", 'set teacher.video = "face" or "frames"'),
        (Video(features=(1.0,)), "frames", 'set teacher.video = "features"'),
        (Video(path=Path("a.npy")), "frames", 'set teacher.video = "features"'),
        (Video(path=Path("none.npy")), "features", "expected features float"),
    ],
)
def test_video_of_the_wrong_kind(video: Video | None, kind: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        video_of(utterance(Path("a.wav"), video=video), 3, RECIPE.sight(kind))


@pytest.mark.parametrize("content", [np.zeros(5), np.array([[np.nan]]), np.zeros((0, 3)), np.array([{"a": 1}])])
def test_features_that_are_none(tmp_path: Path, content: Any) -> None:
    np.save(tmp_path / "bad.npy", content)
    with pytest.raises(InputError, match="features float"):
        video_of(utterance(tmp_path, video=Video(path=tmp_path / "bad.npy")), 3, RECIPE.sight("features"))


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
        heard = teacher(cut(batch.frames[:1], CUT.segmentation), batch.video[:1]).segments[0]
    scaled = heard / known_spread(teacher, examples)
    torch.testing.assert_close(scaled[1:] - scaled[0], encoded[0, 1:] - encoded[0, 0], rtol=1e-2, atol=1e-2)
    sparse, _ = known.of(batch, 2, every=2)
    assert torch.equal(sparse, encoded[:, [0, 2]])


def known_spread(teacher: Teacher, examples: list[Example]) -> torch.Tensor:
    """The deviation per channel over all segments of all examples."""
    every = []
    with torch.no_grad():
        for example in examples:
            assert example.video is not None
            every.append(teacher(segments_of(example.frames, CUT.segmentation), example.video[None]).segments[0])
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
    louder = [replace(few[0], frames=few[0].frames + 1), *few[1:]]
    teacher_embeddings(teacher, b"other weights", louder, tmp_path, CPU)
    assert few[0].video is not None
    blinking = [replace(few[0], video=few[0].video + 1), *few[1:]]
    teacher_embeddings(teacher, b"other weights", blinking, tmp_path, CPU)
    assert len(computed) == 4
    files = [path.name for path in tmp_path.iterdir()]
    assert len(files) == 4
    assert all(re.fullmatch(r"teacher_embeddings\.[0-9a-f.]+\.npz", name) for name in files), files


def test_a_damaged_cache_is_computed_again(teacher: Teacher, examples: list[Example], tmp_path: Path) -> None:
    whole = teacher_embeddings(teacher, b"weights", examples[:3], tmp_path, CPU)
    (file,) = tmp_path.iterdir()
    for content in (b"", b"text", file.read_bytes()[:1000]):
        file.write_bytes(content)
        assert torch.equal(
            teacher_embeddings(teacher, b"weights", examples[:3], tmp_path, CPU).segments, whole.segments
        )


def test_two_teachers_stand_side_by_side(teacher: Teacher, examples: list[Example], tmp_path: Path) -> None:
    one = teacher_embeddings(teacher, b"weights", examples, tmp_path, CPU)
    other = replace(one, segments=-one.segments, utterances=-one.utterances, scores=-one.scores)
    both = one.beside(other)
    batch = next(batches(examples, CUT, 8, seed=3))
    encoded, aggregated = both.of(batch, 3)
    assert (encoded.shape, aggregated.shape) == ((8, 3, 256), (8, 256))
    assert torch.equal(encoded[..., :128], one.of(batch, 3)[0])
    assert torch.equal(encoded[..., 128:], -one.of(batch, 3)[0])
    said = one.probabilities(batch, 1.0)
    torch.testing.assert_close(said, one.scores[list(batch.examples), 0].softmax(1))
    torch.testing.assert_close(both.probabilities(batch, 1.0), torch.full((8, 2), 0.5))  # they contradict each other
    assert (one.probabilities(batch, 4.0) - 0.5).abs().max() < (said - 0.5).abs().max()


@pytest.fixture
def corpus(mood_corpus: Path) -> tuple[Prepared, list[Example]]:
    """Sixteen training clips of moods bright and plain."""
    prepared = prepare(replace(RECIPE, data=DataRecipe(str(mood_corpus), "mood", "test")))
    return prepared, load_examples(prepared.split.train, prepared.classes, RECIPE)


def outputs(path: Path, clips: list[str], said: Any, classes: tuple[str, ...] = ("bright", "plain")) -> str:
    np.savez(path, clip=np.array(clips), classes=np.array(classes), said=np.array(said))
    return f"{path}:said"


def test_a_teacher_is_known_by_its_outputs(corpus: tuple[Prepared, list[Example]], tmp_path: Path) -> None:
    prepared, examples = corpus
    names = [example.name for example in examples]
    clips = ["another", *reversed(names)]
    odds = np.random.default_rng(0).normal(size=(17, 2)).astype(np.float32)
    found = given_outputs(outputs(tmp_path / "odds.npz", clips, odds), prepared, RECIPE, examples)
    assert (found.shape, found.dtype) == ((16, 1, 2), torch.float32)
    np.testing.assert_array_equal(found[:, 0].numpy(), odds[:0:-1])
    chances = np.exp(odds) / np.exp(odds).sum(1, keepdims=True)
    found = given_outputs(outputs(tmp_path / "chances.npz", clips, chances), prepared, RECIPE, examples)
    np.testing.assert_allclose(found[:, 0].softmax(1).numpy(), chances[:0:-1], atol=1e-6)


def test_outputs_with_folds_are_those_of_the_fold(corpus: tuple[Prepared, list[Example]], tmp_path: Path) -> None:
    prepared, examples = corpus
    folds = np.random.default_rng(0).normal(size=(2, 16, 2))
    name = outputs(tmp_path / "folds.npz", [example.name for example in examples], folds)
    second = replace(RECIPE, data=replace(RECIPE.data, test="fold1"))
    np.testing.assert_allclose(given_outputs(name, prepared, second, examples)[:, 0].numpy(), folds[1], rtol=1e-6)
    for test in ("fold2", "test", 0.25):
        with pytest.raises(InputError, match=r"expected data.test of fold0, fold1, .* got"):
            given_outputs(name, prepared, replace(RECIPE, data=replace(RECIPE.data, test=test)), examples)


@pytest.mark.parametrize(
    ("first", "said", "classes", "words"),
    [
        (3, np.zeros((13, 2)), ("bright", "plain"), "got 3 clips without"),
        (0, np.vstack([np.zeros((15, 2)), [[np.nan, 0]]]), ("bright", "plain"), "got 1 clips without"),
        (0, np.zeros((16, 2)), ("plain", "bright"), "for bright, plain in .* classes plain, bright"),
        (0, np.zeros((16, 1)), ("bright", "plain"), r"shape \(16, 1\)"),
        (0, np.zeros((5, 2)), ("bright", "plain"), r"shape \(5, 2\)"),
        (0, np.zeros(16), ("bright", "plain"), r"shape \(16,\)"),
        (0, np.full((16, 2), "a"), ("bright", "plain"), "expected distil.outputs as file.npz:array"),
    ],
)
def test_outputs_that_do_not_fit_are_one_sentence(
    corpus: tuple[Prepared, list[Example]], tmp_path: Path, first: int, said: Any, classes: tuple[str, ...], words: str
) -> None:
    prepared, examples = corpus
    name = outputs(tmp_path / "x.npz", [example.name for example in examples][first:], said, classes)
    with pytest.raises(InputError, match=words) as caught:
        given_outputs(name, prepared, RECIPE, examples)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["none.npz:said", "array.npy:said", "empty.npz:said", "text.npz:said", "x.npz:told", "x.npz"]
)
def test_outputs_that_are_not_there_are_one_sentence(
    corpus: tuple[Prepared, list[Example]], tmp_path: Path, name: str
) -> None:
    outputs(tmp_path / "x.npz", ["a"], np.zeros((1, 2)))
    np.save(tmp_path / "array.npy", np.zeros((1, 2)))
    (tmp_path / "empty.npz").touch()
    (tmp_path / "text.npz").write_text("clip,said")
    with pytest.raises(InputError, match=r"expected distil.outputs as file.npz:array") as caught:
        given_outputs(f"{tmp_path}/{name}", corpus[0], RECIPE, corpus[1])
    assert "\n" not in str(caught.value)
