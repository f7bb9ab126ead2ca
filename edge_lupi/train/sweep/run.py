"""Sweep: arms x folds x seeds of a recipe as tasks of a Dask cluster; goes on after a kill. -> results, table, plot.

    OUT/fold0/seed0/audio/{student.pt, result.json}     # one training and its answers for the test speakers
    OUT/{results.json, table.md, gain.png}

A student waits for its teacher, fine-tuning for its student. A training that fails is named, and ends only those that
wait for it; one whose worker died is taken up by another worker from its checkpoint.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_lupi.cores import usable_cores
from edge_lupi.data.splits import split_name
from edge_lupi.disk import clear_left_overs
from edge_lupi.errors import EdgeLupiError, InputError
from edge_lupi.progress import progress
from edge_lupi.train.examples.keep import keeping
from edge_lupi.train.sweep.gain import Summary, summarise
from edge_lupi.train.sweep.plan import LOCK, Job, Plan
from edge_lupi.train.sweep.result import Result, read_result

if TYPE_CHECKING:
    from distributed import Client, Future

    from edge_lupi.train.sweep.same_data import Home

__all__ = ["chosen_arms", "chosen_folds", "run_sweep"]

log = logging.getLogger(__name__)


def run_sweep(
    plan: Plan,
    arms: Sequence[str],
    folds: Sequence[str],
    seeds: Sequence[int],
    folder: Path,
    *,
    jobs: int = 0,
    scheduler: str = "",
) -> Summary:
    """Train what is not trained yet and write the results.

    `jobs` workers of this machine do it (0: one per GPU, or per CPU core), or all workers of a Dask `scheduler`.
    Raises InputError where trainings failed; the others are kept.
    """
    from edge_lupi.train.examples.learnt import inputs_of
    from edge_lupi.train.sweep.report import write_summary

    digests: dict[tuple[str, str], str] = {}
    todo = plan.jobs(arms, folds, seeds, lambda recipe: inputs_of(recipe, digests))
    folder = folder.absolute()
    with _alone(folder) as token:
        left = [job for job in todo if _result(folder, job) is None]
        if len(left) < len(todo):
            log.info(f"{len(todo) - len(left)} of {len(todo)} trainings are done already")
        if left:
            _train(left, len(todo), folder, _open(len(left), jobs, scheduler), token if scheduler else "")
        results = [result for job in todo if (result := _result(folder, job)) is not None]
        summary = summarise(results, plan.references, plan.sweep.pairs)
        write_summary(summary, results, folder)
    return summary


def _result(folder: Path, job: Job) -> Result | None:
    """A job's result; None where it is not done, or was done with another recipe or other data."""
    result = read_result(folder / job.place)
    return replace(result, teachers=job.teacher_names) if result is not None and result.key == job.key else None


def chosen_arms(plan: Plan, names: str | None) -> list[str]:
    """Arms by a list with commas; all without."""
    arms = [name.strip() for name in names.split(",")] if names else list(plan.arms)
    unknown = [name for name in arms if name not in plan.arms]
    if unknown:
        raise InputError(f"expected arms of {', '.join(plan.arms)}, got {', '.join(unknown)}")
    return list(dict.fromkeys([*(plan.references[arm] for arm in arms), *arms]))


def chosen_folds(plan: Plan, asked: str) -> list[str]:
    """Folds by a list with commas, or all that the corpus names."""
    from edge_lupi.train.examples.corpus import corpus_of

    known = sorted({u.split for u in corpus_of(plan.recipe).utterances if u.split} - {"train", "validation"})
    folds = known if asked == "all" else [split_name(fold.strip()) for fold in asked.split(",")]
    if not folds or not set(folds) <= set(known):
        raise InputError(f"expected folds of {', '.join(known) or 'a corpus that names some'}, got {asked!r}")
    return folds


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[str]:
    """No two sweeps in one folder; the lock goes with the process, however it ends. Gives what the lock file holds."""
    with keeping(folder / LOCK):
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"expected {folder} free, got another sweep at work there: wait, or choose another folder",
                options=("out",),
            ) from error
        token = uuid.uuid4().hex
        with contextlib.suppress(OSError):  # a full disk is said where it matters
            os.ftruncate(handle, 0)
            os.pwrite(handle, token.encode(), 0)
        clear_left_overs(folder, inside=True)
        yield token
    finally:
        os.close(handle)


def _open(left: int, jobs: int, scheduler: str) -> contextlib.AbstractContextManager[Client]:
    """The cluster, with no more workers of this machine than there are trainings."""
    import torch

    from edge_lupi.train.sweep.cluster import local_client, remote_client

    if scheduler:
        progress(log, f"{left} trainings to do, on the workers of {scheduler}")
        return remote_client(scheduler)
    gpus = torch.cuda.device_count()
    count = jobs or gpus or usable_cores()
    threads = 1 if gpus else max(1, usable_cores() // count)
    workers = min(count, left)
    progress(log, f"{left} trainings to do, {workers} at once")
    return local_client(workers, gpus, threads)


def _train(
    left: Sequence[Job], total: int, folder: Path, cluster: contextlib.AbstractContextManager[Client], token: str
) -> None:
    """Train what is left of all. Raises InputError at the end where some failed, and before the first where workers do not fit."""
    from edge_lupi.train.sweep.cluster import worker_faults
    from edge_lupi.train.sweep.same_data import check_worker, home_of

    with cluster as client:
        home = home_of(folder, token) if token else None
        faults = worker_faults(client, check_worker, left[0], home) if home else []
        if faults:
            raise InputError(faults[0])
        futures = _submit(client, left, folder, home)
        failed = _follow({futures[job.key]: job for job in left}, total)
    if failed:
        raise InputError(
            f"{len(failed)} of {total} trainings failed: {failed[0]} (the others are kept; another sweep there tries again)",
            options=failed[0].options,
        )


def _submit(client: Client, left: Sequence[Job], folder: Path, home: Home | None) -> dict[str, Future]:
    """A future for every job, by the job's key. It waits for those that the job needs."""
    from edge_lupi.train.sweep.training import do_job

    futures: dict[str, Future] = {}
    for job in left:
        under = [futures[other.key] for other in job.under if other.key in futures]
        # two commands that ask for the same training, the first of them killed, share what its worker still does
        name = "training-" + hashlib.sha256(f"{folder} {job.key}".encode()).hexdigest()
        futures[job.key] = client.submit(do_job, job, folder, home, under, key=name)
    return futures


def _follow(jobs: dict[Future, Job], total: int) -> list[EdgeLupiError]:
    """Say what is done, as it is done. Gives an error for every training that failed by itself, not for those that wait for it."""
    from distributed import as_completed

    began, done, over = time.monotonic(), total - len(jobs), 0
    failed: dict[str, EdgeLupiError] = {}
    for future in as_completed(list(jobs)):
        over += 1
        fault = _fault(future, jobs)
        if fault:
            if str(fault) not in failed:
                failed[str(fault)] = fault
                log.info(str(fault), extra={"options": fault.options})
            continue
        done += 1
        minutes = (time.monotonic() - began) / over * (len(jobs) - over) / 60
        words = f"{done}/{total} trainings  {jobs[future].title}  {minutes:.0f} min left"
        progress(log, words, last=over == len(jobs))
    return list(failed.values())


def _fault(future: Future, jobs: dict[Future, Job]) -> EdgeLupiError | None:
    """Why a training failed; None where it did not."""
    from distributed.scheduler import KilledWorker

    if future.status == "finished":
        return None
    if future.status != "error":  # cancelled or lost
        raise InputError(
            "expected the scheduler to stay until the sweep is done, got no more answer: start it, and sweep again, which goes on from here"
        )
    error, titles = future.exception(), {of.key: job.title for of, job in jobs.items()}
    if isinstance(error, KilledWorker):
        title = titles.get(error.task, jobs[future].title)
        return InputError(f"{title}: killed from outside again and again (out of memory?), see its log.txt")
    if isinstance(error, EdgeLupiError):
        return error
    return InputError(f"{jobs[future].title}: {type(error).__name__}: {str(error)[:200]}")
