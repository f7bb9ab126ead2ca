"""Quantisation-aware fine-tuning: the student learns to round to the int8 grid. student.pt -> student.pt with ranges.

Batch norms are folded first, so what is rounded here is what runs later. nvidia-modelopt's calibrators find the ranges;
torch rounds to them with a straight-through gradient, by the operator that is exported as Q/DQ. The student is held to
its teacher's embeddings, if it had a teacher, and to the embeddings and probabilities of its own float self.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from edge_lupi.data.digest import file_digest
from edge_lupi.errors import InputError, MissingExtra
from edge_lupi.models.encoder import AnyEncoder
from edge_lupi.models.files import TrainedStudent, load_student, save_student
from edge_lupi.models.front_end import cut
from edge_lupi.models.rounding import fix_ranges, round_with, stop_rounding
from edge_lupi.models.student import Heard, Student
from edge_lupi.train.distil.embeddings import TeacherEmbeddings
from edge_lupi.train.distil.losses import distil
from edge_lupi.train.distil.under_teachers import under_teachers
from edge_lupi.train.examples.augment import disturb
from edge_lupi.train.examples.batch import Batch
from edge_lupi.train.examples.draw import Draw
from edge_lupi.train.examples.epochs import Epochs, batches
from edge_lupi.train.examples.prepared import Prepared
from edge_lupi.train.loop import Run, begin, fit
from edge_lupi.train.recipe import Recipe
from edge_lupi.train.sounds.fresh import FreshCrops, fresh_crops
from edge_lupi.train.stages.temperature import with_temperature
from edge_lupi.train.stages.threshold import with_threshold

__all__ = ["find_ranges", "train_qat"]

CALIBRATION_BATCHES = 64


def train_qat(
    recipe: Recipe, prepared: Prepared, source: Path, folder: Path, *, teachers: Sequence[Path] = (), name: str = ""
) -> Path:
    """Fine-tune `source` on the int8 grid, under the teacher it was distilled from if any; writes <source's name>.int8.pt.

    With qat.epochs = 0 ranges are found and nothing is tuned: plain calibration (PTQ).
    """
    fabric = begin(recipe.qat, recipe.seed)
    trained = _float_student(source, prepared)
    student = trained.student
    student.encoder.fold()
    before = copy.deepcopy(student).requires_grad_(False).eval().to(fabric.device)
    distilled = trained.provenance.distilled and prepared.task.classifies  # no projection between
    material = _material(recipe, prepared, teachers if distilled else (), folder, fabric)
    known = material.known
    if known and (known.axes or known.utterances.shape[1] != student.encoder.embedding_size):
        known = None
    student.to(fabric.device)
    heard = (segments.to(fabric.device) for segments in material.segments)
    ranges = find_ranges(student.encoder, heard, recipe.qat.headroom)
    fix_ranges(student.encoder, ranges)
    student.branches.requires_grad_(False)
    name = name or f"{source.stem}.int8"
    identity = {
        "stage": "qat",
        "recipe": recipe.plain(),
        "names": material.names,
        "learnt_from": prepared.digest,
        "teachers": [file_digest(teacher) for teacher in teachers] if known else [],
        "taught": known.origin if known else "",
        "source": file_digest(source),
    }
    if recipe.qat.epochs:
        run = Run(folder, name, recipe.qat, recipe.seed, identity)
        fit(fabric, student, run, material.epochs, _Losses(recipe, before, known))
    path = folder / f"{name}.pt"
    if fabric.is_global_zero:
        stop_rounding(student.cpu().encoder)
        found = {key: value.cpu() for key, value in ranges.items()}
        provenance = replace(trained.provenance, qat=recipe.plain()["qat"])
        rounded = replace(trained, student=student.requires_grad_(True).eval(), ranges=found, provenance=provenance)
        save_student(path, with_temperature(with_threshold(rounded, recipe, prepared), recipe, prepared))
    return path


@dataclass(frozen=True)
class _Losses:
    """How far the rounded student is from its float self (`before`), and from its teachers' embeddings, where it had any."""

    recipe: Recipe
    before: Student
    known: TeacherEmbeddings | None

    def __call__(self, module: nn.Module, batch: Batch, draw: Draw) -> dict[str, Tensor]:
        recipe, every = self.recipe, self.recipe.segments.every
        frames = disturb(batch.frames, recipe.augment, draw)
        segments = cut(frames, recipe.segments.segmentation)[:, ::every]
        wanted: Heard = self.before(segments)
        heard: Heard = module(segments)
        parts = {
            "float encoder": recipe.qat.hold * _relative(heard.segments, wanted.segments),
            "float aggregator": recipe.qat.hold * _relative(heard.utterance, wanted.utterance),
        }
        if self.known:
            parts |= distil(recipe.distil, self.known, batch, heard.segments, heard.utterance, heard.scores, every)
        if heard.scores is not None and wanted.scores is not None:
            parts["float scores"] = F.kl_div(
                heard.scores.log_softmax(-1), wanted.scores.softmax(-1), reduction="batchmean"
            )
        return parts


@dataclass(frozen=True)
class _Material:
    """What is learnt from: epochs of crops, examples' names, segments [B, 80, 1, F] to find ranges by, teacher embeddings."""

    epochs: Epochs | FreshCrops
    names: list[str]
    segments: Iterator[Tensor]
    known: TeacherEmbeddings | None = None


def _material(recipe: Recipe, prepared: Prepared, teachers: Sequence[Path], folder: Path, fabric: Fabric) -> _Material:
    device, rank, world = fabric.device, fabric.global_rank, fabric.world_size
    if recipe.data.sound == "samples":
        crops = fresh_crops(recipe, prepared, recipe.qat.batch, recipe.seed + 1, folder, device, rank, world)
        return _Material(crops, list(crops.sounds.names), _segments(crops(0), recipe))
    examples, known = under_teachers(recipe, prepared, teachers, device)
    epochs = Epochs(examples, recipe.segments, recipe.qat.batch, recipe.seed + 1, rank=rank, world=world)
    heard = batches(examples, recipe.segments, recipe.qat.batch, seed=recipe.seed)
    return _Material(epochs, [e.name for e in examples], _segments(heard, recipe), known)


def _float_student(source: Path, prepared: Prepared) -> TrainedStudent:
    trained = load_student(source)
    if trained.ranges:
        raise InputError(f"{source} is already on the int8 grid: give the float student it was made from")
    task = trained.student.config.tasks[0].name
    if task != prepared.task.name:
        raise InputError(f"expected a student for task {prepared.task.name}, got {source} for {task}")
    return trained


def _relative(student: Tensor, wanted: Tensor) -> Tensor:
    """Squared error as a share of the wanted embedding's power."""
    return ((student - wanted).square().sum(-1) / wanted.square().sum(-1).clamp_min(1e-9)).mean()


@torch.no_grad()
def find_ranges(encoder: AnyEncoder, log_mels: Iterator[Tensor], headroom: float = 1.0) -> dict[str, Tensor]:
    """The range of every weight and activation of a folded encoder, from what it does on some batches [B, 80, 1, F].

    nvidia-modelopt's calibrators of the largest magnitude: of weights by channel, of activations `headroom` times that.
    """
    # modelopt looks for a compiler that it does not need here, and torch warns about it
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    try:
        from modelopt.torch.quantization.config import QuantizerAttributeConfig
        from modelopt.torch.quantization.nn import TensorQuantizer
    except ImportError as error:
        raise MissingExtra("train qat", "nvidia-modelopt", "train") from error
    activation = QuantizerAttributeConfig(num_bits=8, axis=None)
    weight = QuantizerAttributeConfig(num_bits=8, axis=0)
    quantisers: dict[str, Any] = {}

    def quantiser(name: str, config: object) -> nn.Module:
        found: nn.Module = TensorQuantizer(config)
        quantisers[name] = found
        quantisers[name].disable_quant()
        quantisers[name].enable_calib()
        return found

    round_with(encoder, lambda name: quantiser(name, activation), lambda name: quantiser(f"{name}.weight", weight))
    for frames in log_mels:
        encoder(frames)
    ranges = {}
    for name, found in quantisers.items():
        found.load_calib_amax()
        largest = found.amax.detach().float()
        ranges[name] = largest.flatten() if name.endswith(".weight") else headroom * largest.squeeze()
    stop_rounding(encoder)
    return ranges


def _segments(heard: Iterator[Batch], recipe: Recipe) -> Iterator[Tensor]:
    """Segments [B, 80, 1, F] at the levels and in the noise that training knows."""
    for number, batch in enumerate(heard):
        if number == CALIBRATION_BATCHES:
            return
        frames = disturb(batch.frames, recipe.augment, Draw(number))
        yield cut(frames, recipe.segments.segmentation).flatten(0, 1)
