"""The loop that teacher, student and fine-tuning share: epochs, progress, checkpoints that resume. Devices by Lightning Fabric.

One CPU, one GPU or `torchrun --nproc-per-node N` run the same code and give the same losses, to rounding: the batch of a
recipe is the global one. Every epoch draws its order, crops and disturbances from seed and epoch alone, so a run that was
cut off and taken up again gives what an unbroken one gives.
"""

from __future__ import annotations

import atexit
import hashlib
import io
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from edge_lupi.disk import clear_left_overs, kind_of, read_bounded, written_at_once
from edge_lupi.errors import InputError
from edge_lupi.terminal import note, progress
from edge_lupi.train.examples.batch import Batch
from edge_lupi.train.examples.clips import epoch_seed
from edge_lupi.train.examples.draw import Draw
from edge_lupi.train.recipe import Course
from edge_lupi.train.together import act_as_one

__all__ = ["Run", "fit", "make_fabric"]

LARGEST_BYTES = 1 << 32  # of a checkpoint
FINISHED = "already trained on exactly this; pass --fresh to train anew"
Losses = dict[str, Tensor]  # parts of the loss, already weighted; their sum is minimised


@dataclass(frozen=True)
class Run:
    """Where a training keeps its checkpoint, and what must be the same for it to be taken up again."""

    checkpoint: Path
    identity: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """sha256 of the identity."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()


def make_fabric() -> Fabric:
    """Fabric on what is there: the GPU if any, else the CPU; under torchrun one process per device."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    fabric = Fabric(accelerator="auto", devices=world if world > 1 else 1, strategy="ddp" if world > 1 else "auto")
    if world > 1:
        fabric.launch()
        atexit.register(_part)
    if fabric.device.type == "cuda":  # every batch has the same shape: the fastest convolution is sought once
        torch.backends.cudnn.benchmark = True
    return fabric


def _part() -> None:
    """Leave the other processes in order: gloo's threads must not outlive the interpreter."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def fit(
    fabric: Fabric,
    module: nn.Module,
    course: Course,
    run: Run,
    epoch_batches: Callable[[int], Iterator[Batch]],
    losses: Callable[[nn.Module, Batch, Draw], Losses],
    *,
    seed: int,
    steps: int,
    after: Callable[[list[dict[str, float]]], None] | None = None,
) -> list[dict[str, float]]:
    """Train `module` in place. Returns the mean losses of every epoch; `after` an epoch may add to the last of them."""
    if course.batch % fabric.world_size or course.batch < 2 * fabric.world_size:
        raise InputError(
            f"expected a batch that {fabric.world_size} processes can share, two rows or more each, got {course.batch}: change it in the recipe"
        )
    with suppress(OSError):  # no folder yet
        clear_left_overs(run.checkpoint.parent, inside=True)
    if fabric.world_size > 1:
        act_as_one(module)
    optimiser, schedule = _optimiser(module, course, steps)
    first, history = _resume(module, optimiser, schedule, run, course.epochs)
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster for 2-D convolutions, CPU and GPU
    wrapped, optimiser = fabric.setup(module, optimiser)
    began = time.monotonic()
    for epoch in range(first, course.epochs):
        try:
            history.append(
                _epoch(fabric, wrapped, optimiser, schedule, epoch_batches(epoch), losses, epoch_seed(seed, epoch))
            )
        except KeyboardInterrupt:
            progress(f"{run.checkpoint.stem}  stopped in epoch {epoch + 1}: the same command goes on from there")
            raise
        if not all(math.isfinite(value) for value in history[-1].values()):
            raise InputError(
                f"the loss of {run.checkpoint.stem} became NaN or infinite in epoch {epoch + 1}: lower the rate ({course.rate}) in the recipe"
            )
        if after is not None:
            after(history)
        if fabric.is_global_zero:
            _save(module, optimiser, schedule, run, epoch + 1, history)
            left = (time.monotonic() - began) / (epoch + 1 - first) * (course.epochs - epoch - 1)
            words = "  ".join(f"{name} {value:.4f}" for name, value in history[-1].items())
            progress(f"{run.checkpoint.stem}  epoch {epoch + 1}/{course.epochs}  {words}  {_minutes(left)} left")
    fabric.barrier()
    return history


def _epoch(
    fabric: Fabric,
    module: nn.Module,
    optimiser: Any,
    schedule: Any,
    epoch_batches: Iterator[Batch],
    losses: Callable[[nn.Module, Batch, Draw], Losses],
    seed: int,
) -> dict[str, float]:
    """One pass over the batches; gives the mean of every part of the loss."""
    torch.manual_seed(seed)
    draw = Draw(seed, fabric.global_rank, fabric.world_size)
    module.train()
    sums: dict[str, float] = {}
    count = 0
    for count, batch in enumerate(epoch_batches, 1):
        parts = losses(module, batch.to(fabric.device), draw)
        optimiser.zero_grad()
        fabric.backward(sum(parts.values(), start=torch.zeros((), device=fabric.device)))
        fabric.clip_gradients(module, optimiser, max_norm=5.0, error_if_nonfinite=False)
        optimiser.step()
        schedule.step()
        for name, value in parts.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        if fabric.is_global_zero and sys.stderr.isatty():
            progress(f"step {count}", last=False)
    means = torch.tensor([value / max(count, 1) for value in sums.values()], dtype=torch.float64)
    shared = fabric.all_reduce(means.to(fabric.device).float(), reduce_op="mean") if fabric.world_size > 1 else means
    return dict(zip(sums, shared.tolist(), strict=True))


def _optimiser(module: nn.Module, course: Course, steps: int) -> tuple[torch.optim.Optimizer, Any]:
    """AdamW without decay on biases and norms, and its schedule."""
    decayed = [p for p in module.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in module.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": course.weight_decay}, {"params": others, "weight_decay": 0.0}]
    # eps: gradients that are nothing but rounding must not become whole steps
    optimiser = torch.optim.AdamW(groups, lr=course.rate, eps=1e-6)
    total = course.epochs * steps + 1
    warm = 0.1 if total > 10 else 0.0  # a tenth of less is no step: with 10 in all torch would divide by zero
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(optimiser, course.rate, total_steps=total, pct_start=warm)


def _resume(
    module: nn.Module, optimiser: torch.optim.Optimizer, schedule: Any, run: Run, epochs: int
) -> tuple[int, list[dict[str, float]]]:
    if kind_of(run.checkpoint) == "nothing":
        return 0, []
    try:
        content = io.BytesIO(read_bounded(run.checkpoint, LARGEST_BYTES, "a checkpoint"))
        saved = torch.load(content, map_location="cpu", weights_only=True)
        fingerprint = saved["fingerprint"]
    except Exception as error:  # damaged or foreign: torch raises many kinds
        raise InputError(f"{run.checkpoint} is damaged or no checkpoint: pass --fresh to begin anew") from error
    if fingerprint != run.fingerprint:
        raise InputError(
            f"{run.checkpoint} belongs to another recipe, seed or corpus: pass --fresh to begin anew, or --out for another folder"
        )
    try:
        module.load_state_dict(saved["module"])
    except RuntimeError as error:  # of the same recipe, but of an edge-lupi whose networks had another shape
        raise InputError(
            f"{run.checkpoint} was written by another version of edge-lupi: pass --fresh to begin anew, or remove it"
        ) from error
    optimiser.load_state_dict(saved["optimiser"])
    schedule.load_state_dict(saved["schedule"])
    done = saved["epoch"]
    said = f"taken up again after epoch {done}" if done < epochs else FINISHED
    note(f"{run.checkpoint.stem}  {said}")
    return saved["epoch"], saved["history"]


def _save(
    module: nn.Module, optimiser: Any, schedule: Any, run: Run, epoch: int, history: list[dict[str, float]]
) -> None:
    plain = getattr(optimiser, "optimizer", optimiser)
    content = {
        "fingerprint": run.fingerprint,
        "module": module.state_dict(),
        "optimiser": plain.state_dict(),
        "schedule": {
            key: value
            for key, value in schedule.state_dict().items()
            if not key.startswith("_") and not callable(value)
        },
        "epoch": epoch,
        "history": history,
    }
    try:
        run.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        with written_at_once(run.checkpoint) as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(
            f"could not write {run.checkpoint} ({reason}): free some space and give the same command again, or choose another --out"
        ) from error


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"
