"""Quantisation-aware fine-tuning: the student learns to live on the int8 grid. student.pt -> student.pt with ranges.

Batch norms are folded first, so what is rounded here is what runs later. nvidia-modelopt's calibrators find the ranges;
torch rounds to them with a straight-through gradient, by the operator that is exported as Q/DQ. The student is held to
its teacher's embeddings, if it had a teacher, and to the embeddings and probabilities of its own float self.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from edge_lupi.errors import InputError, MissingExtra
from edge_lupi.models.encoder import AnyEncoder
from edge_lupi.models.files import TrainedStudent, load_student, save_student
from edge_lupi.models.front_end import cut
from edge_lupi.models.rounding import fix_ranges, round_with, stop_rounding
from edge_lupi.models.student import Heard
from edge_lupi.train.distil.embeddings import TeacherEmbeddings
from edge_lupi.train.distil.losses import distil
from edge_lupi.train.examples.augment import disturb
from edge_lupi.train.examples.batch import Batch
from edge_lupi.train.examples.clips import Epochs, batches
from edge_lupi.train.examples.corpus import Prepared
from edge_lupi.train.examples.draw import Draw
from edge_lupi.train.examples.learnt import file_digest, learnt_from
from edge_lupi.train.loop import Run, fit, make_fabric
from edge_lupi.train.recipe import Recipe
from edge_lupi.train.sounds.fresh import FreshCrops, fresh_crops
from edge_lupi.train.stages.student import under_teachers
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
    fabric = make_fabric()
    fabric.seed_everything(recipe.seed, verbose=False)
    trained = _float_student(source, prepared)
    student = trained.student
    student.encoder.fold()
    before = copy.deepcopy(student).requires_grad_(False).eval().to(fabric.device)
    distilled = trained.provenance.get("distilled") and prepared.task.kind == "classification"  # no projection between
    known, names, epochs, frames = _heard_by(recipe, prepared, teachers if distilled else (), folder, fabric)
    if known and (known.axes or known.utterances.shape[1] != student.encoder.embedding_size):
        known = None
    student.to(fabric.device)
    ranges = find_ranges(student.encoder, (heard.to(fabric.device) for heard in frames), recipe.qat.headroom)
    fix_ranges(student.encoder, ranges)
    student.branches.requires_grad_(False)
    every = recipe.segments.every

    def losses(module: nn.Module, batch: Batch, draw: Draw) -> dict[str, Tensor]:
        frames = disturb(batch.frames, recipe.augment, draw)
        segments = cut(frames, recipe.segments.segmentation)[:, ::every]
        wanted: Heard = before(segments)
        heard: Heard = module(segments)
        parts = {
            "float encoder": recipe.qat.hold * _relative(heard.segments, wanted.segments),
            "float aggregator": recipe.qat.hold * _relative(heard.utterance, wanted.utterance),
        }
        if known:
            parts |= distil(recipe.distil, known, batch, heard.segments, heard.utterance, heard.scores, every)
        if heard.scores is not None and wanted.scores is not None:
            parts["float scores"] = F.kl_div(
                heard.scores.log_softmax(-1), wanted.scores.softmax(-1), reduction="batchmean"
            )
        return parts

    name = name or f"{source.stem}.int8"
    identity = {
        "stage": "qat",
        "recipe": recipe.plain(),
        "names": names,
        "learnt_from": learnt_from(prepared),
        "teachers": [file_digest(teacher) for teacher in teachers] if known else [],
        "taught": known.origin if known else "",
        "source": file_digest(source),
    }
    run = Run(folder / f"{name}.checkpoint", identity)
    if recipe.qat.epochs:
        fit(fabric, student, recipe.qat, run, epochs, losses, seed=recipe.seed, steps=epochs.steps)
    path = folder / f"{name}.pt"
    if fabric.is_global_zero:
        stop_rounding(student.cpu().encoder)
        provenance = {**trained.provenance, "qat": recipe.plain()["qat"]}
        found = {key: value.cpu() for key, value in ranges.items()}
        rounded = replace(trained, student=student.requires_grad_(True).eval(), ranges=found, provenance=provenance)
        save_student(path, with_temperature(with_threshold(rounded, recipe, prepared), recipe, prepared))
    return path


def _heard_by(
    recipe: Recipe, prepared: Prepared, teachers: Sequence[Path], folder: Path, fabric: Fabric
) -> tuple[TeacherEmbeddings | None, list[str], Epochs | FreshCrops, Iterator[Tensor]]:
    """What teachers tell; the examples' names; the epochs; segments [B, 80, 1, F] to find ranges by."""
    device, rank, world = fabric.device, fabric.global_rank, fabric.world_size
    if recipe.data.sound == "samples":
        crops = fresh_crops(recipe, prepared, recipe.qat.batch, recipe.seed + 1, folder, device, rank, world)
        return None, list(crops.sounds.names), crops, _segments(crops(0), recipe)
    examples, known = under_teachers(recipe, prepared, teachers, device)
    epochs = Epochs(examples, recipe.segments, recipe.qat.batch, recipe.seed + 1, rank=rank, world=world)
    heard = batches(examples, recipe.segments, recipe.qat.batch, seed=recipe.seed)
    return known, [e.name for e in examples], epochs, _segments(heard, recipe)


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
