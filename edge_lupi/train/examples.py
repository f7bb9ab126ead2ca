"""Utterances in memory, and batches of equal crops out of them. Crops begin on the grid of hops.

So a crop's segments are segments of the whole utterance, and the teacher's cached embeddings belong to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_lupi.audio import from_pcm, read_audio, to_pcm
from edge_lupi.data.utterance import Utterance, Video
from edge_lupi.data.video import read_frames
from edge_lupi.errors import InputError
from edge_lupi.frames import CONTEXT_SAMPLES, HOP_SAMPLES, SAMPLE_RATE_HZ, Segmentation
from edge_lupi.train.recipe import Recipe, SegmentRecipe

__all__ = ["Batch", "Epochs", "Example", "as_seen", "batches", "epoch_seed", "load_examples", "video_of"]

MAX_BYTES = 8 << 30  # of samples held in memory


@dataclass(frozen=True)
class Example:
    """One utterance at one speed: int16 samples [T] of at least one crop, its class, its video per segment if asked for."""

    name: str
    samples: NDArray[np.int16]
    label: int
    speaker: str | None
    segments: int
    video: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """samples float32 [B, 240 + crop], context first; labels [B]; which examples and from which segment on; video [B, S, ...]."""

    samples: Tensor
    labels: Tensor
    examples: tuple[int, ...]
    firsts: tuple[int, ...]
    video: Tensor | None

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        video = None if self.video is None else self.video.to(device)
        return Batch(self.samples.to(device), self.labels.to(device), self.examples, self.firsts, video)


def load_examples(
    utterances: Sequence[Utterance], classes: Sequence[str], recipe: Recipe, *, video: str = "none"
) -> list[Example]:
    """Read and cut every utterance, at every speed of the recipe. At another speed a voice to verify is another class."""
    index = {label: number for number, label in enumerate(classes)}
    examples: list[Example] = []
    held = 0
    for utterance in utterances:
        samples = read_audio(utterance.audio, start_seconds=utterance.start_seconds, end_seconds=utterance.end_seconds)
        for number, speed in enumerate(recipe.augment.speeds):
            label = index[utterance.label] + (number * len(classes) if recipe.data.task == "speaker" else 0)
            examples.append(_example(utterance, _at_speed(samples, speed), label, recipe, video))
            held += examples[-1].samples.nbytes
        if held > MAX_BYTES:
            raise InputError(
                f"expected a corpus of at most {MAX_BYTES >> 30} GiB of samples in memory, got more: train on a part of it"
            )
    widths = {example.video.shape[1:] for example in examples if example.video is not None}
    if len(widths) > 1:
        raise InputError(
            f"expected as many features for every utterance, got {', '.join(str(tuple(w)) for w in sorted(widths))}: correct the corpus"
        )
    return examples


def _example(utterance: Utterance, samples: NDArray[np.float32], label: int, recipe: Recipe, video: str) -> Example:
    cut = recipe.segments
    crop = round(cut.crop_seconds * SAMPLE_RATE_HZ)
    padded = np.zeros(max(crop, len(samples)), np.int16)
    padded[: len(samples)] = to_pcm(samples)
    segments = cut.segmentation.count(len(padded) // HOP_SAMPLES)
    seen = None if video == "none" else video_of(utterance, segments, recipe, video)
    return Example(utterance.name, padded, label, utterance.speaker, segments, seen)


def _at_speed(samples: NDArray[np.float32], speed: float) -> NDArray[np.float32]:
    return samples if speed == 1 else soxr.resample(samples, SAMPLE_RATE_HZ * speed, SAMPLE_RATE_HZ).astype(np.float32)


def video_of(utterance: Utterance, segments: int, recipe: Recipe, kind: str) -> Tensor:
    """What the eye gets per segment: features float32 [S, V], or frames uint8 [S, N, H, W]."""
    video = utterance.video
    if video is None:
        raise InputError(
            f'expected video beside {utterance.name}, got none: set teacher.video = "none" or add it to the corpus'
        )
    if kind == "frames":
        return _frames(utterance, video, segments, recipe)
    if video.is_raw:
        raise InputError(f'expected video features for {utterance.name}, got a file: set teacher.video = "frames"')
    if video.path is not None:
        return _features(utterance, video, segments, recipe.segments.segmentation)
    return torch.tensor(video.features, dtype=torch.float32).expand(segments, -1)


def as_seen(video: Tensor) -> Tensor:
    """What an eye takes: frames uint8 as float32 in [0, 1], features as they are."""
    return video.float() / 255 if video.dtype == torch.uint8 else video


def _features(utterance: Utterance, video: Video, segments: int, cut: Segmentation) -> Tensor:
    """A .npy with features float [N, V] per frame -> their mean in every segment [S, V]; a short file's last row stands still."""
    try:
        rows = np.lib.format.open_memmap(str(video.path), mode="r").astype(np.float32)
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise InputError(f"expected features float [N, V] in {video.path}, got something else ({error})") from error
    if rows.ndim != 2 or not rows.size or not np.isfinite(rows).all():
        raise InputError(f"expected finite features float [N, V] in {video.path}, got shape {rows.shape} or NaN")
    fps = video.frames_per_second
    starts = [round((utterance.start_seconds + s * cut.hop_seconds) * fps) for s in range(segments)]
    length = max(1, round(cut.seconds * fps))
    return torch.from_numpy(np.stack([rows[min(s, len(rows) - 1) : s + length].mean(0) for s in starts]))


def _frames(utterance: Utterance, video: Video, segments: int, recipe: Recipe) -> Tensor:
    if video.path is None or not video.is_raw:
        raise InputError(f'expected a video file for {utterance.name}, got features: set teacher.video = "features"')
    cut, fps = recipe.segments.segmentation, recipe.teacher.frames_per_second
    per_segment = round(cut.seconds * fps)
    starts = [round(s * cut.hop_seconds * fps) for s in range(segments)]
    seconds = (starts[-1] + per_segment) / fps
    frames = read_frames(
        video.path,
        start_seconds=utterance.start_seconds,
        end_seconds=utterance.start_seconds + seconds,
        size=recipe.teacher.frame_size,
        fps=fps,
        region="mouth",
    )
    return torch.from_numpy(np.stack([frames[start : start + per_segment] for start in starts]))


@dataclass(frozen=True)
class Epochs:
    """Epoch after epoch of the same examples, each in an order and with crops of its own."""

    examples: Sequence[Example]
    cut: SegmentRecipe
    size: int
    seed: int
    rank: int = 0
    world: int = 1

    @property
    def steps(self) -> int:
        """Batches in an epoch; what does not fill a batch waits for another epoch, unless there is no other batch."""
        return max(1, len(self.examples) // self.size)

    def __call__(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch, or this process's share of each."""
        seed = epoch_seed(self.seed, epoch)
        return batches(self.examples, self.cut, self.size, seed=seed, rank=self.rank, world=self.world)


def epoch_seed(seed: int, epoch: int) -> int:
    """One number per seed and epoch."""
    return seed * 100_003 + epoch


def batches(
    examples: Sequence[Example], cut: SegmentRecipe, size: int, *, seed: int, rank: int = 0, world: int = 1
) -> Iterator[Batch]:
    """One epoch of random crops in random order, the same for the same seed; each of `world` processes gets its share of every batch."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(examples))
    segments = cut.segmentation.count(round(cut.crop_seconds * SAMPLE_RATE_HZ) // HOP_SAMPLES)
    firsts = random.random(len(examples))
    for start in range(0, len(order) - len(order) % size if len(order) >= size else len(order), size):
        chosen = order[start : start + size][rank::world]
        if len(chosen) > 1:  # batch norm needs two
            yield _batch(
                examples,
                cut,
                chosen,
                [int(firsts[i] * (examples[i].segments - segments + 1)) for i in chosen],
                segments,
            )


def _batch(
    examples: Sequence[Example], cut: SegmentRecipe, chosen: NDArray[np.int64], firsts: list[int], segments: int
) -> Batch:
    length = round(cut.crop_seconds * SAMPLE_RATE_HZ)
    samples = np.zeros((len(chosen), CONTEXT_SAMPLES + length), np.float32)
    for row, (index, first) in enumerate(zip(chosen, firsts, strict=True)):
        start = first * cut.segmentation.hop_samples
        before = min(start, CONTEXT_SAMPLES)
        piece = examples[index].samples[start - before : start + length]
        samples[row, CONTEXT_SAMPLES - before : CONTEXT_SAMPLES - before + len(piece)] = from_pcm(piece)
    labels = torch.tensor([examples[i].label for i in chosen])
    seen = [
        video[first : first + segments]
        for i, first in zip(chosen, firsts, strict=True)
        if (video := examples[i].video) is not None
    ]
    video = as_seen(torch.stack(seen)) if seen else None
    return Batch(torch.from_numpy(samples), labels, tuple(int(i) for i in chosen), tuple(firsts), video)
