"""Training examples on disk: Shards -> a sequence of Example, each read when it is asked for.

An epoch's order and crops are drawn over all shards before anything is read, as of examples in memory. So the batches are
the same for any number of processes and of readers, and memory holds a table of what there is (60 bytes an example).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_lupi.cores import usable_cores
from edge_lupi.data.shards import LOG_MEL, Shards, read_array, shard_path
from edge_lupi.errors import InputError
from edge_lupi.models.teacher import FEATURES
from edge_lupi.train.examples.clips import Example, strangers
from edge_lupi.train.examples.cut_settings import check_cut
from edge_lupi.train.recipe import Recipe

__all__ = ["ShardExample", "ShardExamples"]

MOST_READERS = 8


class ShardExamples(Sequence[Example]):
    """All examples of opened shards. `video` is what is seen of them: none, or what the shards hold.

    With teacher.shuffle_video every example is seen with the video of another.
    """

    def __init__(self, shards: Shards, recipe: Recipe, video: str = "none") -> None:
        check_cut(recipe, shards)
        if video not in ("none", shards.settings["teacher.video"]):
            raise InputError(
                f"expected shards with video {video}, got {shards.settings['teacher.video']} in {shards.root}: cut them again"
            )
        self.shards = shards
        self.recipe = recipe
        self.video = shards.video if video != "none" else None
        self.sight = recipe.sight(video)
        cut = recipe.segments.segmentation
        self.segments = np.maximum(1, (shards.columns["frames"] - cut.frames) // cut.hop_frames + 1)
        hidden = recipe.teacher.shuffle_video and self.video is not None
        self.seen_of = strangers(len(shards), recipe.seed) if hidden else np.arange(len(shards))
        self.readers = _readers()

    def __len__(self) -> int:
        return len(self.shards)

    @overload
    def __getitem__(self, number: int) -> ShardExample: ...
    @overload
    def __getitem__(self, number: slice) -> list[Example]: ...
    def __getitem__(self, number: int | slice) -> ShardExample | list[Example]:
        if isinstance(number, slice):
            return [ShardExample(self, i) for i in range(len(self))[number]]
        return ShardExample(self, range(len(self))[number])

    def hear(self, number: int, first: int, last: int) -> NDArray[np.float32]:
        """Frames [first, last) of an example, float32 [F, 80]."""
        found = self._read(number, "frames", first, min(last, int(self.shards.columns["frames"][number])))
        if not np.isfinite(found).all():
            raise InputError(
                f"expected finite numbers in {self._tar(number)}, got NaN or infinity: cut the shards again"
            )
        return found.astype(np.float32)

    def look(self, number: int, segments: range) -> Tensor | None:
        """What the eye gets in some segments of an example, [S, ...]; a short video's last segment stands still."""
        if self.video is None:
            return None
        whose = int(self.seen_of[number])
        wanted = np.minimum(np.array(segments), self.segments[whose] - 1)
        if self.sight.kind in FEATURES:
            rows = self._read(whose, "video", int(wanted[0]), int(wanted[-1]) + 1)
            return torch.from_numpy(rows[wanted - wanted[0]])
        starts, each = np.array(self.sight.starts(wanted)), self.sight.segment_frames
        frames = self._read(whose, "video", int(starts[0]), int(starts[-1]) + each)
        return torch.from_numpy(frames[(starts - starts[0])[:, None] + np.arange(each)])

    def _read(self, number: int, what: str, first: int, last: int) -> NDArray[Any]:
        kind = LOG_MEL if what == "frames" else self.video
        assert kind is not None
        columns = self.shards.columns
        at, count = int(columns[f"{what}_at"][number]), int(columns[what][number])
        return read_array(self._tar(number), at, kind, count, first, last)

    def _tar(self, number: int) -> Path:
        return shard_path(self.shards.root, self.shards.shard_of(number))


class ShardExample(Example):
    """One of them, read from disk each time: what is asked for and no more."""

    def __init__(self, among: ShardExamples, number: int) -> None:
        object.__setattr__(self, "among", among)
        object.__setattr__(self, "number", number)

    among: ShardExamples
    number: int

    @property
    def name(self) -> str:
        """As the corpus calls it."""
        result: str = self.among.shards.names[self.number].decode()
        return result

    @property
    def label(self) -> int:
        """The number of its class."""
        return int(self.among.shards.columns["label"][self.number])

    @property
    def speaker(self) -> str | None:
        """Who speaks, where that is known."""
        number = int(self.among.shards.columns["speaker"][self.number])
        return None if number < 0 else self.among.shards.speakers[number]

    @property
    def segments(self) -> int:
        """How many there are."""
        return int(self.among.segments[self.number])

    @property
    def frames(self) -> NDArray[np.float32]:
        """log-mel float32 [F, 80]."""
        return self.hear(0, int(self.among.shards.columns["frames"][self.number]))

    @property
    def video(self) -> Tensor | None:
        """Per segment [S, ...]."""
        return self.look(range(self.segments))

    def hear(self, first: int, last: int) -> NDArray[np.float32]:
        """Frames [first, last), as far as there are any."""
        return self.among.hear(self.number, first, last)

    def look(self, segments: range) -> Tensor | None:
        """The video of some segments."""
        return self.among.look(self.number, segments)


def _readers() -> int:
    """Processes that read beside a training: some per GPU. On a CPU, where a step takes longer than its reading, none."""
    if not torch.cuda.is_available():
        return 0
    return max(1, min(MOST_READERS, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) - 1))
