"""Teacher embeddings of shards, computed once per teacher and shards: files that training maps into memory.

    OUT/teacher_embeddings.1f2e3d4c5b6a.6a5b4c3d2e1f/{segments,utterances,scores,scale}.npy

Every process computes its part of the shards, and after a kill only what is not done. Several machines need a common OUT.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as distributed
from numpy.typing import NDArray
from torch import Tensor

from edge_lupi.disk import clear_left_overs, kind_of, read_bounded, unpacked_arrays, written_at_once
from edge_lupi.errors import InputError
from edge_lupi.models.sight import as_seen
from edge_lupi.models.teacher import Teacher
from edge_lupi.train.distil.embeddings import TeacherEmbeddings
from edge_lupi.train.examples.clips import segments_of
from edge_lupi.train.examples.keep import keeping
from edge_lupi.train.examples.shard_examples import ShardExamples

__all__ = ["shard_embeddings"]

SEGMENTS_AT_ONCE = 512  # that the teacher hears and sees
LARGEST_PART_BYTES = 1 << 33
LAST = "segments"  # of the files that are written: where it is, all are


def shard_embeddings(
    teacher: Teacher, weights: bytes, examples: ShardExamples, folder: Path, device: torch.device
) -> TeacherEmbeddings:
    """The same as `teacher_embeddings` gives of examples in memory."""
    key = _key(teacher, weights, examples)
    place = folder / f"teacher_embeddings.{hashlib.sha256(weights).hexdigest()[:12]}.{key[:12]}"
    rank, world = (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)
    with keeping(place):
        place.mkdir(exist_ok=True)
        if kind_of(_file(place, LAST)) == "nothing":
            teacher = teacher.to(device).eval()
            for shard in range(rank, len(examples.shards.ends), world):
                _compute(teacher, examples, shard, place, device)
            _meet()
            if rank == 0:
                _join(place, examples)
        _meet()
        return replace(_mapped(place, examples), origin=key)


def _file(place: Path, name: str) -> Path:
    return place / f"{name}.npy"


def _meet() -> None:
    if distributed.is_initialized():
        distributed.barrier()


def _key(teacher: Teacher, weights: bytes, examples: ShardExamples) -> str:
    shown = examples.recipe.seed if examples.recipe.teacher.shuffle_video else None
    content = f"{examples.shards.digest} {teacher.config.segmentation} {shown}"
    return hashlib.sha256(weights + content.encode()).hexdigest()


def _compute(teacher: Teacher, examples: ShardExamples, shard: int, place: Path, device: torch.device) -> None:
    """E [sum S, D], A [n, D] and scores [n, C] of the examples of one shard -> a file."""
    path = place / f"{shard:06d}.npz"
    if kind_of(path) == "file":
        return
    first, last = int(examples.shards.ends[shard - 1]) if shard else 0, int(examples.shards.ends[shard])
    heard: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
    for alike in _alike(examples.segments[first:last]):
        numbers = [first + int(i) for i in alike]
        heard.update(zip(numbers, _heard(teacher, examples, numbers, device), strict=True))
    segments, utterances, scores = zip(*(heard[number] for number in range(first, last)), strict=True)
    with written_at_once(path) as file:
        np.savez(
            file,
            segments=torch.cat(segments).numpy(),
            utterances=torch.stack(utterances).numpy(),
            scores=torch.stack(scores).numpy(),
        )


def _alike(lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Places of equal length, some at a time."""
    for length in np.unique(lengths):
        places = np.flatnonzero(lengths == length)
        each = max(1, SEGMENTS_AT_ONCE // int(length))
        yield from (places[start : start + each] for start in range(0, len(places), each))


@torch.no_grad()
def _heard(
    teacher: Teacher, examples: ShardExamples, numbers: list[int], device: torch.device
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """E [S, D], A [D] and scores [C] of each of some examples of equal length."""
    cut, count = teacher.config.segmentation, int(examples.segments[numbers[0]])
    sound, seen = [], []
    for number in numbers:
        sound.append(segments_of(examples[number].frames, cut)[:, :count])
        seen.append(examples[number].video)
    video = as_seen(torch.stack([v for v in seen if v is not None])).to(device) if seen[0] is not None else None
    heard = teacher(torch.cat(sound).to(device), video)
    scores = heard.utterance.new_zeros(len(numbers), 0) if heard.scores is None else heard.scores
    return zip(heard.segments.cpu(), heard.utterance.cpu(), scores.cpu(), strict=True)


def _join(place: Path, examples: ShardExamples) -> None:
    """The shards' files -> one for each array, segments and utterances standardised per channel over the corpus."""
    parts = [place / f"{shard:06d}.npz" for shard in range(len(examples.shards.ends))]
    _save(place, "scores", np.concatenate([part["scores"] for part in _read(parts)]))
    for name, rows in (("utterances", len(examples)), (LAST, int(examples.segments.sum()))):
        scale = _scale(parts, name)
        if name == "utterances":
            _save(place, "scale", scale)
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, scale.shape[1])}
        with written_at_once(_file(place, name)) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for part in _read(parts):
                file.write(((part[name] - scale[0]) / scale[1]).astype("<f4").tobytes())
    for path in parts:
        path.unlink()
    clear_left_overs(place, inside=True)


def _save(place: Path, name: str, values: NDArray[Any]) -> None:
    with written_at_once(_file(place, name)) as file:
        np.save(file, values)


def _scale(parts: list[Path], name: str) -> NDArray[np.float32]:
    """Mean and deviation float32 [2, D] over all parts."""
    count = sum(len(part[name]) for part in _read(parts))
    mean = sum(part[name].sum(0, dtype=np.float64) for part in _read(parts)) / count
    squares = sum(np.square(part[name] - mean).sum(0) for part in _read(parts))
    return np.stack([mean, np.sqrt(squares / max(1, count - 1)).clip(1e-4)]).astype(np.float32)


def _read(parts: list[Path]) -> Iterator[dict[str, NDArray[Any]]]:
    yield from map(_part, parts)


def _part(path: Path) -> dict[str, NDArray[Any]]:
    try:
        return unpacked_arrays(read_bounded(path, LARGEST_PART_BYTES), LARGEST_PART_BYTES)
    except (InputError, ValueError) as error:
        raise InputError(f"{path.parent} is damaged ({error}): remove it") from error


def _mapped(place: Path, examples: ShardExamples) -> TeacherEmbeddings:
    try:
        unlike = [name for name in (LAST, "utterances", "scores", "scale") if kind_of(_file(place, name)) != "file"]
        if unlike:
            raise ValueError(f"no file {unlike[0]}.npy")
        segments, utterances = (
            torch.from_numpy(np.load(_file(place, name), mmap_mode="c")) for name in (LAST, "utterances")
        )
        scores, scale = (torch.from_numpy(np.load(_file(place, name))) for name in ("scores", "scale"))
        counts = len(segments), len(utterances), len(scores)
        if counts != (int(examples.segments.sum()), len(examples), len(examples)):
            raise ValueError(f"{counts} rows")
    except OSError:
        raise
    except Exception as error:  # numpy, tokenize and torch each have kinds of their own
        raise InputError(f"{place} is damaged ({error}): remove it") from error
    starts = torch.from_numpy(np.concatenate([[0], np.cumsum(examples.segments)]))
    return TeacherEmbeddings(segments, starts, utterances, scores[:, None], scale)
