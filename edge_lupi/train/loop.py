"""Training loop of teacher, student and fine-tuning: epochs, progress, history, checkpoints that resume; by Lightning Fabric.

One CPU, one GPU or `torchrun --nnodes M --nproc-per-node N` run the same code and give the same losses, to rounding: the batch of a
recipe is the global one. Every epoch draws its order, crops and disturbances from seed and epoch alone, so a run that was
cut off and taken up again gives what an unbroken one gives.
"""

from __future__ import annotations

import atexit
import hashlib
import io
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from edge_lupi.disk import clear_left_overs, kind_of, read_bounded, written_at_once
from edge_lupi.errors import InputError
from edge_lupi.progress import progress
from edge_lupi.train.checkpoint import LARGEST_BYTES, of_another, recipe_digest
from edge_lupi.train.curves import Curves
from edge_lupi.train.examples.batch import Batch
from edge_lupi.train.examples.draw import Draw
from edge_lupi.train.examples.epochs import epoch_seed
from edge_lupi.train.examples.keep import keep
from edge_lupi.train.recipe import Course
from edge_lupi.train.together import act_as_one, check_agreement
from edge_lupi.words import json_text

__all__ = ["Epochs", "History", "Run", "begin", "fit", "make_fabric"]

log = logging.getLogger(__name__)

History = list[dict[str, float]]  # of every epoch the means
Losses = dict[str, Tensor]  # parts of the loss, already weighted; their sum is minimised


class Epochs(Protocol):
    """Batches, epoch after epoch."""

    @property
    def steps(self) -> int:
        """Batches in an epoch."""

    def __call__(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch, or this process's share of each."""


@dataclass(frozen=True)
class Run:
    """One stage's training in a folder, and all that must be the same for its checkpoint to be taken up again.

    Beside `<name>.checkpoint` lies `<name>.history.json`: a list with an object for every epoch, the mean of each part of the
    loss by its name, and what was measured on held-out voices; and `<name>.curves.svg`, its picture.
    """

    folder: Path
    name: str
    course: Course
    seed: int
    identity: Mapping[str, object]

    @property
    def checkpoint(self) -> Path:
        """Weights, optimiser and history after the last epoch."""
        return self.folder / f"{self.name}.checkpoint"

    @property
    def history(self) -> Path:
        """The history, for people and scripts."""
        return self.folder / f"{self.name}.history.json"

    @property
    def fingerprint(self) -> str:
        """sha256 of the identity."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()


def begin(course: Course, seed: int) -> Fabric:
    """Fabric in the precision of a course, and torch's random numbers from a seed."""
    fabric = make_fabric(course.precision)
    fabric.seed_everything(seed, verbose=False)
    return fabric


def make_fabric(precision: str = "float32") -> Fabric:
    """Fabric on what is there: the GPU if any, else the CPU; under torchrun one process per device of every machine."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    if world % here:
        raise InputError(
            f"expected as many processes on every machine, got {here} of {world} here: give torchrun one --nproc-per-node"
        )
    strategy = "ddp" if world > 1 else "auto"
    fabric = Fabric(
        accelerator="auto",
        devices=here,
        num_nodes=world // here,
        strategy=strategy,
        precision="bf16-mixed" if precision == "bfloat16" else "32-true",
    )
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
    run: Run,
    epochs: Epochs,
    losses: Callable[[nn.Module, Batch, Draw], Losses],
    *,
    before: Callable[[int], None] | None = None,
    after: Callable[[History], None] | None = None,
) -> History:
    """Train `module` in place, and keep the mean losses of every epoch as history.json. Returns them.

    `before` is called with the number of each epoch, `after` with the history so far, to whose last epoch it may add figures.
    """
    course = run.course
    _check_batch(course.batch, fabric.world_size)
    with suppress(OSError):  # no folder yet
        clear_left_overs(run.folder, inside=True)
    if fabric.world_size > 1:
        act_as_one(module)
    optimiser, schedule = _optimiser(module, course, epochs.steps)
    first, history = _resume(module, optimiser, schedule, run)
    if fabric.world_size > 1:
        check_agreement(fabric, first, run.fingerprint)
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster for 2-D convolutions, CPU and GPU
    wrapped, optimiser = fabric.setup(module, optimiser)
    step = _Step(fabric, wrapped, optimiser, schedule, losses)
    began = time.monotonic()
    curves = Curves(run.folder, run.name, first) if fabric.is_global_zero and first < course.epochs else None
    if curves:
        log.info(f"{run.name}  {course.epochs} epochs of {epochs.steps} steps")
    for epoch in range(first, course.epochs):
        if before is not None:
            before(epoch)
        history.append(_epoch(step, epochs(epoch), run, epoch, epochs.steps))
        if after is not None:
            after(history)
        if curves:
            _save(module, optimiser, schedule, run, history)
            curves.show(history)
            left = (time.monotonic() - began) / (epoch + 1 - first) * (course.epochs - epoch - 1)
            words = "  ".join(f"{name} {value:.4f}" for name, value in history[-1].items())
            progress(log, f"{run.name}  epoch {epoch + 1}/{course.epochs}  {words}  {_minutes(left)} left")
    if curves:
        curves.close()
    if fabric.is_global_zero and first == course.epochs:  # it was finished: perhaps by a version that kept none
        _keep_history(run, history)
    fabric.barrier()
    return history


def _check_batch(batch: int, world: int) -> None:
    if batch % world or batch < 2 * world:
        raise InputError(
            f"expected a batch that {world} processes can share, two rows or more each, got {batch}: change it in the recipe"
        )


@dataclass(frozen=True)
class _Step:
    """What a training step needs besides its batch."""

    fabric: Fabric
    module: nn.Module
    optimiser: Any
    schedule: Any
    losses: Callable[[nn.Module, Batch, Draw], Losses]

    def __call__(self, batch: Batch, draw: Draw) -> Losses:
        """Forward, backward, and on; the parts of the loss."""
        parts = self.losses(self.module, batch.to(self.fabric.device), draw)
        self.optimiser.zero_grad()
        self.fabric.backward(sum(parts.values(), start=torch.zeros((), device=self.fabric.device)))
        self.fabric.clip_gradients(self.module, self.optimiser, max_norm=5.0, error_if_nonfinite=False)
        self.optimiser.step()
        self.schedule.step()
        return parts


def _epoch(step: _Step, batches: Iterator[Batch], run: Run, epoch: int, steps: int) -> dict[str, float]:
    """One pass over the batches; gives the mean of every part of the loss. Raises InputError where one is not finite."""
    try:
        words = f"{run.name}  epoch {epoch + 1}/{run.course.epochs}"
        means = _pass(step, batches, epoch_seed(run.seed, epoch), f"{words}  step {{}}/{steps}")
    except KeyboardInterrupt:
        progress(log, f"{run.name}  stopped in epoch {epoch + 1}: training there goes on from it")
        raise
    if not all(math.isfinite(value) for value in means.values()):
        raise InputError(
            f"the loss of {run.name} became NaN or infinite in epoch {epoch + 1}: lower the rate ({run.course.rate}) in the recipe"
        )
    return means


def _pass(step: _Step, batches: Iterator[Batch], seed: int, words: str) -> dict[str, float]:
    fabric = step.fabric
    torch.manual_seed(seed)
    draw = Draw(seed, fabric.global_rank, fabric.world_size)
    step.module.train()
    sums: dict[str, Tensor] = {}
    count = 0
    for count, batch in enumerate(batches, 1):
        for name, value in step(batch, draw).items():  # summed where they are: to look at one would wait for the GPU
            sums[name] = sums.get(name, 0.0) + value.detach().double()
        if fabric.is_global_zero:
            progress(log, words.format(count), last=False, often=True)
    means = torch.tensor([float(value) / max(count, 1) for value in sums.values()], dtype=torch.float64)
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


def _resume(module: nn.Module, optimiser: torch.optim.Optimizer, schedule: Any, run: Run) -> tuple[int, History]:
    if kind_of(run.checkpoint) == "nothing":
        return 0, []
    try:
        content = io.BytesIO(read_bounded(run.checkpoint, LARGEST_BYTES, "a checkpoint"))
        saved = torch.load(content, map_location="cpu", weights_only=True)
        fingerprint = saved["fingerprint"]
    except Exception as error:  # damaged or foreign: torch raises many kinds
        raise InputError(f"{run.checkpoint} is damaged or no checkpoint: start afresh", options=("fresh",)) from error
    if fingerprint != run.fingerprint:
        raise of_another(run.checkpoint, "recipe, seed or corpus")
    try:
        module.load_state_dict(saved["module"])
    except RuntimeError as error:  # of the same recipe, but of an edge-lupi whose networks had another shape
        raise InputError(
            f"{run.checkpoint} was written by another version of edge-lupi: start afresh, or remove it",
            options=("fresh",),
        ) from error
    optimiser.load_state_dict(saved["optimiser"])
    schedule.load_state_dict(saved["schedule"])
    done = saved["epoch"]
    if done < run.course.epochs:
        log.info(f"{run.name}  taken up again after epoch {done}")
    else:
        said = f"{run.name}  already trained on exactly this; train afresh to train again"
        log.info(said, extra={"options": ("fresh",)})
    return done, saved["history"]


def _save(module: nn.Module, optimiser: Any, schedule: Any, run: Run, history: History) -> None:
    plain = getattr(optimiser, "optimizer", optimiser)
    content = {
        "fingerprint": run.fingerprint,
        "recipe": recipe_digest(run.identity.get("recipe")),
        "module": module.state_dict(),
        "optimiser": plain.state_dict(),
        "schedule": {
            key: value
            for key, value in schedule.state_dict().items()
            if not key.startswith("_") and not callable(value)
        },
        "epoch": len(history),
        "history": history,
    }
    try:
        run.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        with written_at_once(run.checkpoint) as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(
            f"could not write {run.checkpoint} ({reason}): free some space and go on, or choose another folder",
            options=("out",),
        ) from error
    _keep_history(run, history)


def _keep_history(run: Run, history: History) -> None:
    plain = [{name: value if math.isfinite(value) else None for name, value in epoch.items()} for epoch in history]
    keep(run.history, (json_text(plain, indent=1) + "\n").encode())


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"
