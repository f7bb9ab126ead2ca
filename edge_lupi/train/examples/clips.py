"""Training examples in memory: utterances as log-mel, at every speed of the recipe, with the video that a teacher sees."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_lupi.data.speech import read_speech
from edge_lupi.data.utterance import Utterance
from edge_lupi.errors import InputError
from edge_lupi.frames import SAMPLE_RATE_HZ, Segmentation
from edge_lupi.models.faces import find_faces
from edge_lupi.models.front_end import cut, padded_log_mel
from edge_lupi.models.sight import video_of
from edge_lupi.progress import progress
from edge_lupi.task import verifies
from edge_lupi.train.recipe import Recipe, SegmentRecipe

__all__ = [
    "UNLABELLED",
    "Example",
    "forget_sound",
    "heard_at_speed",
    "load_examples",
    "segments_of",
    "shuffled",
    "strangers",
]

UNLABELLED = -1
log = logging.getLogger(__name__)
MAX_BYTES = 12 << 30  # of log-mel and video held in memory


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
    if len(utterances) > 1 and recipe.sight(video).finds_faces:
        find_faces(_spoken(utterances, recipe), recipe.sight(video))
    held = 0
    for place, utterance in enumerate(utterances, 1):
        if len(utterances) > 1:
            progress(log, f"reading sound  {place}/{len(utterances)}", last=place == len(utterances), often=True)
        for number, speed in enumerate(recipe.augment.speeds):
            label = index[utterance.label] + (number * len(classes) if verifies(recipe.data.task) else 0)
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
    return np.ascontiguousarray(padded_log_mel(samples, shortest)[0, :, 0].T.numpy())


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
    seen = None if blind else video_of(spoken, segments, recipe.sight(video), speed)
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
