"""Pretrained teachers asked for every clean crop in every step, on the device that trains. samples [B, T] -> [B, D].

Of a table, the vector of the whole utterance stands for each of its crops: for clips as long as a crop, asked once and heard in
another room in every epoch.
On the CPU ONNX Runtime answers, elsewhere torch. The mean of the answers, their scale and their main axes are those of the
first crops of the training, kept beside the results with a fingerprint of teacher, sound and settings.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edge_lupi.disk import read_bounded, unpacked_arrays
from edge_lupi.errors import InputError
from edge_lupi.frames import HOP_SAMPLES, SAMPLE_RATE_HZ
from edge_lupi.train.examples.batch import Batch
from edge_lupi.train.examples.keep import keep
from edge_lupi.train.recipe import PretrainedTeacherRecipe, Recipe, SegmentRecipe
from edge_lupi.train.sounds.fresh import FreshCrops, margin_samples
from edge_lupi.train.teachers.kept import MAX_TEACHER_BYTES, KeptTeacher, about_mean
from edge_lupi.train.teachers.onnx_teacher import FRONT_ENDS, OnnxTeacher
from edge_lupi.train.teachers.table_teacher import table_vectors
from edge_lupi.train.teachers.torch_graph import TorchGraph

__all__ = ["LiveTeacher", "asked", "live_teachers"]

log = logging.getLogger(__name__)

SAMPLE_CROPS = 2048  # that mean, scale and axes are of
ROWS_AT_ONCE = 512
MAX_KEPT_BYTES = 1 << 28


@dataclass(frozen=True)
class LiveTeacher:
    """A teacher that hears the clean crops; what it says, about `mean` [D], on the axes `basis` [D, W]."""

    recipe: PretrainedTeacherRecipe
    ask: Callable[[Tensor], Tensor]
    cut: SegmentRecipe
    margin: int
    mean: Tensor
    basis: Tensor

    @property
    def width(self) -> int:
        """W."""
        return self.basis.shape[1]

    def of(self, batch: Batch, count: int, every: int) -> Tensor:
        """[B, W] for a batch of crops, or [B, S, W] of `count` segments, every so many on the grid of hops."""
        said = _said(self.recipe, self.ask, self.cut, self.margin, batch)
        if self.recipe.place == "segment":
            said = said[:, ::every][:, :count]
        return (said - self.mean) @ self.basis


def asked(
    data: bytes, recipe: PretrainedTeacherRecipe, device: torch.device, precision: str = "float32"
) -> Callable[[Tensor], Tensor]:
    """samples float32 [B, T] on the device -> unit vectors [B, D]. On a GPU the network runs in the student's precision."""
    if device.type == "cpu":
        here = OnnxTeacher(data, recipe.front_end, recipe.path)
        return lambda samples: F.normalize(torch.from_numpy(here(samples.numpy())))
    graph, front_end = TorchGraph(data, device, recipe.path), FRONT_ENDS[recipe.front_end]

    def answer(samples: Tensor) -> Tensor:
        heard = front_end(samples)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            said = graph(heard).flatten(1)
        if said.shape[0] != len(samples):
            raise InputError(f"expected vectors [{len(samples)}, D] from {recipe.path}, got shape {tuple(said.shape)}")
        return F.normalize(said.float())

    return answer


@torch.no_grad()
def _said(
    recipe: PretrainedTeacherRecipe, ask: Callable[[Tensor], Tensor], cut: SegmentRecipe, margin: int, batch: Batch
) -> Tensor:
    """Unit vectors [B, D], or [B, S, D] of every segment."""
    assert batch.clean is not None
    grid = cut.segmentation
    own = cut.crop_frames * HOP_SAMPLES if recipe.place == "utterance" else grid.samples
    length = max(own, round(recipe.hears_seconds * SAMPLE_RATE_HZ))
    from_here = batch.clean[:, margin - (length - own) // 2 :]
    if recipe.place == "utterance":
        pieces = from_here[:, None, :length]
    else:
        pieces = from_here.unfold(1, length, grid.hop_samples)[:, : grid.count(cut.crop_frames)]
    rows, count = pieces.shape[:2]
    answers = torch.cat([ask(part) for part in torch.split(pieces.flatten(0, 1), ROWS_AT_ONCE)])
    return answers if recipe.place == "utterance" else answers.reshape(rows, count, -1)


@dataclass(frozen=True)
class _Whole:
    """An utterance as a table has it where crops are drawn from samples."""

    name: str
    speed: float = 1.0
    segments: int = 1


def _from_table(one: PretrainedTeacherRecipe, crops: FreshCrops, width: int) -> KeptTeacher:
    """A table's vectors of the utterances; crops at other speeds, or of segments, have none."""
    augment = crops.recipe.augment
    if one.place == "segment" or augment.free_speeds or augment.speeds != (1.0,):
        raise InputError(
            f'expected teachers.place = "utterance" and crops at speed 1 beside a table where data.sound = "samples", got others beside {one.path}: name an .onnx file, or set data.sound = "log-mel"'
        )
    data = read_bounded(one.path, MAX_TEACHER_BYTES, "a teacher of the recipe")
    vectors = table_vectors(one.path, data, [_Whole(name) for name in crops.sounds.names])
    kept = about_mean(one, F.normalize(torch.from_numpy(vectors)))
    return kept.along_axes(width) if one.projection == "axes" else kept


def live_teachers(recipe: Recipe, crops: FreshCrops, folder: Path, width: int) -> list[LiveTeacher | KeptTeacher]:
    """The teachers of [[teachers]], in the order of the recipe; a student's embedding is `width` wide."""
    device = crops.sounds.device
    asked_live = [one for one in recipe.teachers if not one.path.endswith(".npz")]
    if asked_live and device.type == "cpu":
        log.info('teachers hear every crop again, which is slow on a CPU: take a GPU, or data.sound = "log-mel"')
    found: list[LiveTeacher | KeptTeacher] = []
    for one in recipe.teachers:
        if one.path.endswith(".npz"):
            found.append(_from_table(one, crops, width))
            continue
        if not one.path.endswith(".onnx"):
            raise InputError(
                f'expected a teacher that can be asked for every crop, an .onnx file, or a table where data.sound = "samples", got {one.path}: set data.sound = "log-mel"'
            )
        data = read_bounded(one.path, MAX_TEACHER_BYTES, "a teacher of the recipe")
        ask = asked(data, one, device, recipe.student.precision)
        mean, basis = (x.to(device) for x in _frame(one, ask, data, crops, folder, width))
        found.append(LiveTeacher(one, ask, recipe.segments, margin_samples(recipe), mean, basis))
    return found


def _frame(
    one: PretrainedTeacherRecipe,
    ask: Callable[[Tensor], Tensor],
    data: bytes,
    crops: FreshCrops,
    folder: Path,
    width: int,
) -> tuple[Tensor, Tensor]:
    """Mean [D] and scaled axes [D, W] from the file that an earlier training kept, or found now and kept."""
    key = _key(one, data, crops, width)
    path = folder / f"axes.{hashlib.sha256(data).hexdigest()[:12]}.{key[:12]}.npz"
    try:
        kept = unpacked_arrays(read_bounded(path, MAX_KEPT_BYTES), MAX_KEPT_BYTES)
        if str(kept["fingerprint"]) == key:
            return torch.from_numpy(kept["mean"]), torch.from_numpy(kept["basis"])
    except (InputError, ValueError, KeyError, TypeError):
        pass  # absent or damaged: found again
    recipe, whole = crops.recipe, replace(crops, rank=0, world=1)  # of several processes each finds the same
    said = [_said(one, ask, recipe.segments, margin_samples(recipe), batch) for batch in _sample(whole)]
    vectors = torch.cat([part.flatten(0, -2) for part in said]).cpu().double()
    mean, basis = _axes(one, vectors, width)
    packed = io.BytesIO()
    np.savez(packed, fingerprint=np.array(key), mean=mean.numpy(), basis=basis.numpy())
    keep(path, packed.getvalue())
    return mean, basis


def _axes(one: PretrainedTeacherRecipe, vectors: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The mean of [N, D], and axes [D, W] on which the mean square is 1: all, or the `width` with most of the spread."""
    if not vectors.isfinite().all():
        raise InputError(f"expected finite vectors from {one.path}, got NaN: check the file")
    mean = vectors.mean(0)
    about = vectors - mean
    basis = torch.eye(vectors.shape[1], dtype=torch.float64)
    if one.projection == "axes":
        if vectors.shape[1] < width:
            raise InputError(
                f'expected a teacher of at least {width} channels for projection "axes", got {vectors.shape[1]} of {one.path}: set teachers.projection = "learnt"'
            )
        if vectors.shape[1] > width:
            basis = torch.linalg.eigh(about.T @ about).eigenvectors[:, -width:].flip(1)
    scale = (about @ basis).square().mean().sqrt().clamp_min(1e-6)
    return mean.float(), (basis / scale).float()


def _sample(crops: FreshCrops) -> Iterator[Batch]:
    """Crops as the first epochs hear them, enough of them."""
    heard, epoch = 0, 0
    while heard < SAMPLE_CROPS:
        for batch in crops(epoch):
            yield batch
            heard += len(batch.labels)
            if heard >= SAMPLE_CROPS:
                return
        epoch += 1


def _key(one: PretrainedTeacherRecipe, data: bytes, crops: FreshCrops, width: int) -> str:
    """Changes with whatever mean and axes depend on."""
    digest = hashlib.sha256(data)
    augment, segments = crops.recipe.augment, crops.recipe.segments
    what = one.front_end, one.place, one.hears_seconds, one.projection, width, crops.size, crops.seed
    voices = augment.speeds, augment.free_speeds, augment.speed_range, augment.formant_range
    how = voices, segments.segmentation, segments.crop_frames, crops.recipe.student.precision
    digest.update(repr((what, how, crops.recipe.data.rounds)).encode())
    digest.update(crops.sounds.flat.cpu().numpy().tobytes())
    return digest.hexdigest()
