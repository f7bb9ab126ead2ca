"""Utterances as log-mel in memory, and batches of equal crops out of them. Crops begin on the grid of hops.

So a crop's segments are segments of the whole utterance, and the teacher's cached embeddings belong to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from edge_lupi.data.speech import read_speech
from edge_lupi.data.utterance import Utterance, Video
from edge_lupi.data.video import read_frames
from edge_lupi.disk import plain_array, read_bounded
from edge_lupi.errors import InputError
from edge_lupi.frames import HOP_SAMPLES, LOG_FLOOR, MELS, SAMPLE_RATE_HZ, Segmentation
from edge_lupi.models.front_end import cut, log_mel
from edge_lupi.train.examples.batch import Batch, Crops
from edge_lupi.train.examples.faces import face_sight, find_faces
from edge_lupi.train.recipe import Recipe, SegmentRecipe

__all__ = [
    "UNLABELLED",
    "Epochs",
    "Example",
    "as_seen",
    "batches",
    "draw_crops",
    "epoch_seed",
    "forget_sound",
    "heard_at_speed",
    "load_examples",
    "read_ahead",
    "read_crops",
    "segments_of",
    "shuffled",
    "strangers",
    "video_of",
]

UNLABELLED = -1
FEWEST_ROWS = 2  # of a batch, or of a process's share of it: batch norm needs two
MAX_BYTES = 12 << 30  # of log-mel and video held in memory
LARGEST_FEATURES_BYTES = 1 << 28  # of a clip's video
SILENCE = float(np.log(LOG_FLOOR))


@dataclass(frozen=True)
class Example:
    """One utterance at one speed: log-mel float32 [F, 80] of at least one crop, its class (or UNLABELLED), its video per segment if asked for."""

    name: str
    frames: NDArray[np.float32]
    label: int
    speaker: str | None
    segments: int
    video: Tensor | None = None
    speed: float = 1.0

    def crop(self, first: int, cut: SegmentRecipe) -> tuple[NDArray[np.float32], Tensor | None]:
        """One crop from a segment on: log-mel [at most F, 80], and the video of the segments that are heard [S, ...]."""
        start, segments = first * cut.segmentation.hop_frames, cut.segmentation.count(cut.crop_frames)
        return self.hear(start, start + cut.crop_frames), self.look(range(first, first + segments, cut.every))

    def hear(self, first: int, last: int) -> NDArray[np.float32]:
        """Frames [first, last), as far as there are any."""
        return self.frames[first:last]

    def look(self, segments: range) -> Tensor | None:
        """The video of some segments."""
        return None if self.video is None else self.video[segments.start : segments.stop : segments.step]


def load_examples(
    utterances: Sequence[Utterance], classes: Sequence[str], recipe: Recipe, *, video: str = "none"
) -> list[Example]:
    """Read and cut every utterance, at every speed of the recipe. At another speed a voice to verify is another class."""
    index = {label: number for number, label in enumerate(classes)}
    examples: list[Example] = []
    if len(utterances) > 1 and recipe.teacher.finds_faces(video):
        find_faces(_spoken(utterances, recipe), recipe)
    held = 0
    for utterance in utterances:
        for number, speed in enumerate(recipe.augment.speeds):
            label = index[utterance.label] + (number * len(classes) if recipe.data.task == "speaker" else 0)
            examples.append(_example(utterance, speed, label, recipe, video))
            held += examples[-1].frames.nbytes + (0 if (seen := examples[-1].video) is None else seen.nbytes)
        if held > MAX_BYTES:
            raise InputError(
                f"expected a corpus of at most {MAX_BYTES >> 30} GiB of log-mel in memory, got more: cut it with edge-lupi train shards"
            )
    examples = _with_unseen(examples)
    widths = {example.video.shape[1:] for example in examples if example.video is not None}
    if len(widths) > 1:
        raise InputError(
            f"expected as many features for every utterance, got {', '.join(str(tuple(w)) for w in sorted(widths))}: correct the corpus"
        )
    return examples


def frames_of(samples: NDArray[np.float32], shortest: int) -> NDArray[np.float32]:
    """Samples float32 [T] -> log-mel float32 [F, 80], with silence up to the shortest F."""
    padded = np.zeros(max(shortest * HOP_SAMPLES, len(samples)), np.float32)
    padded[: len(samples)] = samples
    return np.ascontiguousarray(log_mel(torch.from_numpy(padded)[None])[0, :, 0].T.numpy())


@lru_cache(maxsize=8192)  # of a sweep, the next training reads the same files
def _heard(utterance: Utterance, speed: float, shortest: int, trim_db: float) -> tuple[NDArray[np.float32], Utterance]:
    samples, spoken = read_speech(utterance, trim_db)
    return frames_of(_at_speed(samples, speed), shortest), spoken


def heard_at_speed(utterance: Utterance, speed: float, trim_db: float) -> NDArray[np.float32]:
    """The samples float32 [T] that an example was made of."""
    return _at_speed(read_speech(utterance, trim_db)[0], speed)


def forget_sound() -> None:
    """Let go of what the next training would read again, where there is none."""
    _heard.cache_clear()


def segments_of(frames: NDArray[np.float32], segmentation: Segmentation) -> Tensor:
    """log-mel [F, 80] of a whole utterance -> its segments [1, S, 80, 1, segment]."""
    return cut(torch.from_numpy(frames).T[None, :, None], segmentation)


def _spoken(utterances: Sequence[Utterance], recipe: Recipe) -> Iterator[tuple[Utterance, int, float]]:
    """Every utterance without the silence around it, with its number of segments at each speed, and that speed."""
    cut = recipe.segments
    for utterance in utterances:
        for speed in recipe.augment.speeds:
            frames, spoken = _heard(utterance, speed, cut.crop_frames, cut.trim_db)
            yield spoken, cut.segmentation.count(len(frames)), speed


def _example(utterance: Utterance, speed: float, label: int, recipe: Recipe, video: str) -> Example:
    frames, spoken = _heard(utterance, speed, recipe.segments.crop_frames, recipe.segments.trim_db)
    segments = recipe.segments.segmentation.count(len(frames))
    blind = video == "none" or (video == "features" and recipe.data.also and utterance.video is None)
    seen = None if blind else video_of(spoken, segments, recipe, video, speed)
    return Example(utterance.name, frames, label, utterance.speaker, segments, seen, speed)


def _with_unseen(examples: list[Example]) -> list[Example]:
    """Beside others that have video, an example without has features that are no numbers: nothing was seen."""
    width = next((example.video.shape[1] for example in examples if example.video is not None), None)
    if width is None or all(example.video is not None for example in examples):
        return examples
    nothing = torch.full((1, width), torch.nan)
    return [e if e.video is not None else replace(e, video=nothing.expand(e.segments, -1)) for e in examples]


def _at_speed(samples: NDArray[np.float32], speed: float) -> NDArray[np.float32]:
    return samples if speed == 1 else soxr.resample(samples, SAMPLE_RATE_HZ * speed, SAMPLE_RATE_HZ).astype(np.float32)


def shuffled(examples: Sequence[Example], seed: int) -> list[Example]:
    """Every example with the video of another: the control in which sight tells nothing. Who was not seen stays so."""
    seen = [place for place, example in enumerate(examples) if not _unseen(example)]
    shown = list(examples)
    for place, other in zip(seen, strangers(len(seen), seed), strict=True):
        shown[place] = replace(examples[place], video=_as_long(examples[seen[other]].video, examples[place].segments))
    return shown


def _unseen(example: Example) -> bool:
    return example.video is not None and example.video.is_floating_point() and bool(example.video[0].isnan().all())


def strangers(count: int, seed: int) -> NDArray[np.int64]:
    """For each of so many examples another: one round trip through all, so nobody keeps his own.

    At several speeds an utterance is several examples, and few may be shown their own at another speed.
    """
    order = np.random.default_rng([seed, 7]).permutation(count)
    other = np.empty_like(order)
    other[order] = np.roll(order, 1)
    return other


def _as_long(video: Tensor | None, segments: int) -> Tensor | None:
    """The video of so many segments; a short one's last segment stands still."""
    if video is None:
        return None
    return video[torch.arange(segments).clamp_max(len(video) - 1)]


def video_of(utterance: Utterance, segments: int, recipe: Recipe, kind: str, speed: float = 1.0) -> Tensor:
    """What the eye gets per segment: features float32 [S, V], or frames uint8 [S, N, H, W]; at a speed that of the sound."""
    if recipe.teacher.finds_faces(kind):
        return face_sight(utterance, segments, recipe, kind, speed)
    video = utterance.video
    if video is None:
        raise InputError(
            f'expected video beside {utterance.name}, got none: set teacher.video = "none" or add it to the corpus'
        )
    if kind == "frames":
        return _frames(utterance, video, segments, recipe, speed)
    if video.is_raw:
        raise InputError(
            f'expected video features for {utterance.name}, got a file: set teacher.video = "face" or "frames"'
        )
    if video.path is not None:
        return _features(utterance, video, segments, recipe.segments.segmentation, speed)
    return torch.tensor(video.features, dtype=torch.float32).expand(segments, -1)


def as_seen(video: Tensor) -> Tensor:
    """What an eye takes: frames uint8 as float32 in [0, 1], features as they are."""
    return video.float() / 255 if video.dtype == torch.uint8 else video


def _features(utterance: Utterance, video: Video, segments: int, cut: Segmentation, speed: float) -> Tensor:
    """A .npy with features float [N, V] per frame -> their mean in every segment [S, V]; a short file's last row stands still."""
    assert video.path is not None
    try:
        packed = read_bounded(video.path, LARGEST_FEATURES_BYTES, "features float [N, V]")
        rows = plain_array(packed).astype(np.float32)
    except ValueError as error:
        raise InputError(f"expected features float [N, V] in {video.path}, got something else ({error})") from error
    if rows.ndim != 2 or not rows.size or not np.isfinite(rows).all():
        raise InputError(f"expected finite features float [N, V] in {video.path}, got shape {rows.shape} or NaN")
    fps = video.frames_per_second
    starts = [round((utterance.start_seconds + s * cut.hop_seconds * speed) * fps) for s in range(segments)]
    length = max(1, round(cut.seconds * speed * fps))
    return torch.from_numpy(np.stack([rows[min(s, len(rows) - 1) : s + length].mean(0) for s in starts]))


def _frames(utterance: Utterance, video: Video, segments: int, recipe: Recipe, speed: float) -> Tensor:
    if video.path is None or not video.is_raw:
        raise InputError(f'expected a video file for {utterance.name}, got features: set teacher.video = "features"')
    cut, fps = recipe.segments.segmentation, recipe.teacher.frames_per_second
    per_segment = round(cut.seconds * fps)
    starts = [round(s * cut.hop_seconds * fps) for s in range(segments)]
    seconds = (starts[-1] + per_segment) / fps * speed
    frames = read_frames(
        video.path,
        start_seconds=utterance.start_seconds,
        end_seconds=utterance.start_seconds + seconds,
        size=recipe.teacher.frame_size,
        fps=fps / speed,
        region=recipe.teacher.region,
    )
    return torch.from_numpy(np.stack([frames[start : start + per_segment] for start in starts]))


@dataclass(frozen=True)
class Epochs:
    """Epoch after epoch of the same examples, each in an order and with crops of its own."""

    examples: Sequence[Example]
    cut: SegmentRecipe
    size: int
    seed: int
    mixup: float = 0.0
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        fewest = FEWEST_ROWS * self.world
        if len(self.examples) < fewest:
            raise InputError(
                f"expected at least {fewest} utterances to train on, of which batch norm takes a mean, got {len(self.examples)}: bring more, or hold out fewer"
            )

    @property
    def steps(self) -> int:
        """Batches in an epoch; what does not fill a batch waits for another epoch, unless there is no other batch."""
        return max(1, len(self.examples) // self.size)

    def __call__(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch, or this process's share of each."""
        seed = epoch_seed(self.seed, epoch)
        crops = draw_crops(
            self.examples, self.cut, self.size, seed=seed, mixup=self.mixup, rank=self.rank, world=self.world
        )
        return read_ahead(self.examples, self.cut, crops)


def epoch_seed(seed: int, epoch: int) -> int:
    """One number per seed and epoch."""
    return seed * 100_003 + epoch


def batches(
    examples: Sequence[Example],
    cut: SegmentRecipe,
    size: int,
    *,
    seed: int,
    mixup: float = 0.0,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Batch]:
    """One epoch of random crops in random order, the same for the same seed; process `rank` of `world` gets its rows of every batch."""
    for crops in draw_crops(examples, cut, size, seed=seed, mixup=mixup, rank=rank, world=world):
        yield read_crops(examples, cut, crops)


def draw_crops(
    examples: Sequence[Example],
    cut: SegmentRecipe,
    size: int,
    *,
    seed: int,
    mixup: float = 0.0,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Crops]:
    """What `batches` reads, before anything is read."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(examples))
    segments = cut.segmentation.count(cut.crop_frames)
    chances = random.random(len(examples))
    firsts = [int(c * (e.segments - segments + 1)) for c, e in zip(chances, examples, strict=True)]

    def crops(chosen: NDArray[np.int64]) -> Crops:
        return Crops(tuple(map(int, chosen)), tuple(firsts[i] for i in chosen))

    for start in range(0, len(order) - len(order) % size if len(order) >= size else len(order), size):
        rows = order[start : start + size]
        each = len(rows) // world
        mine = slice(rank * each, (rank + 1) * each)
        if each < FEWEST_ROWS:
            continue
        if mixup:
            others, share = random.permutation(rows), random.beta(mixup, mixup, len(rows))
            part = np.maximum(share, 1 - share)[mine].astype(np.float32)
            yield replace(crops(rows[mine]), partner=crops(others[mine]), share=part)
        else:
            yield crops(rows[mine])


def read_crops(examples: Sequence[Example], cut: SegmentRecipe, crops: Crops) -> Batch:
    """The batch that was drawn."""
    frames = np.full((len(crops.examples), cut.crop_frames, MELS), SILENCE, np.float32)
    labels, seen = [], []
    for row, (index, first) in enumerate(zip(crops.examples, crops.firsts, strict=True)):
        example = examples[index]
        piece, video = example.crop(first, cut)
        frames[row, : len(piece)] = piece
        labels.append(example.label)
        if video is not None:
            seen.append(video)
    return Batch(
        torch.from_numpy(frames).transpose(1, 2)[:, :, None],
        torch.tensor(labels),
        crops.examples,
        crops.firsts,
        as_seen(torch.stack(seen)) if seen else None,
        None if crops.partner is None else read_crops(examples, cut, crops.partner),
        None if crops.share is None else torch.from_numpy(crops.share),
    )


def read_ahead(examples: Sequence[Example], cut: SegmentRecipe, crops: Iterable[Crops]) -> Iterator[Batch]:
    """Every batch that was drawn. Examples on disk say how many processes read them ahead (`readers`)."""
    readers = getattr(examples, "readers", 0)
    if not readers:
        for chosen in crops:
            yield read_crops(examples, cut, chosen)
        return
    reading = _Reading(examples, cut, list(crops))
    own = torch.Generator()  # the loader draws a seed: not from the numbers that dropout draws from
    for found in DataLoader(reading, batch_size=None, num_workers=readers, collate_fn=_as_it_is, generator=own):
        if isinstance(found, InputError):
            raise found
        yield found


class _Reading(Dataset):
    """Batches by number. An error is handed over as it is: raised, it would come with a worker's traceback."""

    def __init__(self, examples: Sequence[Example], cut: SegmentRecipe, crops: Sequence[Crops]) -> None:
        self.examples = examples
        self.cut = cut
        self.crops = crops

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, step: int) -> Batch | InputError:
        try:
            return read_crops(self.examples, self.cut, self.crops[step])
        except InputError as error:
            return error


def _as_it_is(item: Any) -> Any:
    return item
