"""Arms x folds x seeds of a recipe, side by side on every device there is; taken up again after a kill. -> results, table, plot.

    OUT/fold0/seed0/audio/{student.pt, result.json}     # one training and what it said of the test speakers
    OUT/{results.json, table.md, gain.png}

Every training runs in a process of its own that learns on one device, so its result does not depend on what runs beside it.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_lupi.data.splits import split_name
from edge_lupi.disk import (
    TEMPORARY,
    clear_left_overs,
    entries,
    kind_of,
    read_bounded,
    unpacked_arrays,
    write_at_once,
)
from edge_lupi.errors import EdgeLupiError, InputError
from edge_lupi.terminal import note, progress
from edge_lupi.train.sweep.plan import Job, Plan, trained_file
from edge_lupi.words import json_text

__all__ = ["chosen_arms", "chosen_folds", "run_sweep"]

WATCH_SECONDS = 0.5
HEARD = "heard.npz"  # a teacher's embeddings of the test utterances
BEGUN = "begun.json"  # [key, recipe]: what marks a folder as one that a sweep made, and may empty
LARGEST_BYTES = 1 << 28  # of what a training leaves for the table


def run_sweep(
    plan: Plan, arms: Sequence[str], folds: Sequence[str], seeds: Sequence[int], folder: Path, *, jobs: int = 0
) -> dict[str, Any]:
    """Do what is not done yet, with `jobs` processes (0: one per GPU, or per CPU core), and write the results."""
    from edge_lupi.train.examples.learnt import inputs_of
    from edge_lupi.train.sweep.gain import summarise, write_summary

    known: dict[tuple[str, str], str] = {}
    todo = plan.jobs(arms, folds, seeds, lambda recipe: inputs_of(recipe, known))
    with _alone(folder):
        _train(todo, folder, jobs)
        results = [{**_found(folder, job), "teachers": [t.arm for t in job.teachers]} for job in todo]
        summary = summarise(results, plan.references, plan.sweep.pairs)
        write_summary(summary, results, folder)
    return summary


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
def _alone(folder: Path) -> Iterator[None]:
    """No two sweeps in one folder; the lock goes with the process, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise InputError(f"cannot write to {folder} ({error.strerror}): choose another --out") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"expected {folder} free, got another sweep at work there: wait, or choose --out"
            ) from error
        clear_left_overs(folder, inside=True)
        yield
    finally:
        os.close(handle)


def _train(todo: Sequence[Job], folder: Path, jobs: int) -> None:
    left = {job.key: job for job in todo if not _is_done(folder, job)}
    done = len(todo) - len(left)
    if done:
        note(f"{done} of {len(todo)} trainings are done already")
    if not left:
        return
    devices = _devices()
    count = jobs or (len(devices) or os.cpu_count() or 1)
    threads = 1 if devices else max(1, (os.cpu_count() or 1) // count)
    context = multiprocessing.get_context("spawn")
    gates = context.Queue()
    for number in range(count):
        gates.put(devices[number % len(devices)] if devices else "")
    began = time.monotonic()
    with (
        _environment(OMP_NUM_THREADS=str(threads)),
        ProcessPoolExecutor(min(count, len(left)), context, _begin, (gates, os.getpid())) as pool,
    ):
        running: dict[Future[float], Job] = {}
        try:
            while left or running:
                ready = [job for job in left.values() if not any(other.key in left for other in job.under)]
                busy = {job.key for job in running.values()}
                for job in ready:
                    if job.key not in busy and len(running) < count:
                        running[pool.submit(_do, job, folder)] = job
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    job = running.pop(future)
                    future.result()
                    del left[job.key]
                    spent = time.monotonic() - began
                    rest = spent / (len(todo) - done - len(left)) * len(left)
                    _say(f"{len(todo) - len(left)}/{len(todo)} trainings  {job.title}", rest, last=not left)
        except BrokenProcessPool as error:
            raise InputError(
                f"a training was killed from outside (out of memory?), see the log.txt of {', '.join(j.title for j in running.values())}: the same command goes on from there"
            ) from error
        except BaseException:
            processes = getattr(pool, "_processes", None)  # None once the pool is shut down
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list((processes or {}).values()):
                process.terminate()
            raise


def _say(words: str, rest: float, *, last: bool) -> None:
    progress(f"{words}  {rest / 60:.0f} min left", last=last)


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _devices() -> list[str]:
    """The GPUs, by number."""
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def _result(folder: Path, job: Job) -> Path:
    return folder / job.place / "result.json"


def _found(folder: Path, job: Job) -> dict[str, Any]:
    """What a training has left: nothing where it is not done, or its file is damaged."""
    try:
        found = json.loads(read_bounded(_result(folder, job), LARGEST_BYTES, "a result"))
    except (InputError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_done(folder: Path, job: Job) -> bool:
    return _found(folder, job).get("key") == job.key


def _begin(gates: Any, parent: int) -> None:
    """First thing in a worker: its device, and an end when the sweep itself was killed."""
    device = gates.get()
    if device:
        os.environ["CUDA_VISIBLE_DEVICES"] = device

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _do(job: Job, folder: Path) -> float:
    """One training and its measurement, in a worker. Returns its wall time in seconds."""
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    began = time.monotonic()
    place = folder / job.place
    try:
        _make_ready(place, job)
        with (place / "log.txt").open("a", buffering=1, encoding="utf-8") as log, contextlib.redirect_stderr(log):
            _train_one(job, folder)
            found = _measured(job, folder)
        seconds = time.monotonic() - began
        write_at_once(place / "result.json", json_text({**found, "seconds": round(seconds, 1)}).encode())
        for checkpoint in place.glob("*.checkpoint"):
            checkpoint.unlink(missing_ok=True)
    except EdgeLupiError as error:
        raise InputError(f"{job.title}: {error}") from error
    except OSError as error:
        raise InputError(
            f"{job.title}: could not write to {place} ({error.strerror}): free some space or choose another --out"
        ) from error
    return seconds


def _make_ready(place: Path, job: Job) -> None:
    """A folder that holds nothing but what this very training left. Only one that a sweep has made is emptied."""
    begun, begins = place / BEGUN, json_text([job.key, job.recipe.plain()]).encode()
    place.mkdir(parents=True, exist_ok=True)
    held = [path for path in entries(place) if not path.name.startswith(TEMPORARY)]
    if held and not _marks(begun):
        raise InputError(f"expected {place} to be empty or a sweep's, got other files: choose another --out")
    if held and read_bounded(begun, LARGEST_BYTES) != begins:  # of another recipe or corpus, or of an older edge-lupi
        for path in held:
            if kind_of(path) == "folder" and not path.is_symlink():
                shutil.rmtree(path)
            elif path != begun:  # last of all, by the next line: a kill between leaves it ours
                path.unlink()
    write_at_once(begun, begins)
    clear_left_overs(place, inside=True)


def _marks(begun: Path) -> bool:
    """Whether it is what a sweep writes into the folders that it makes."""
    if kind_of(begun) != "file":
        return False
    try:
        key, recipe = json.loads(read_bounded(begun, LARGEST_BYTES))
    except (ValueError, TypeError, RecursionError):
        return False
    return isinstance(key, str) and isinstance(recipe, dict) and "data" in recipe


def _train_one(job: Job, folder: Path) -> None:
    from edge_lupi.train.examples.corpus import prepare
    from edge_lupi.train.stages.qat import train_qat
    from edge_lupi.train.stages.student import train_student
    from edge_lupi.train.stages.teacher import train_teacher

    prepared = prepare(job.recipe)
    place = folder / job.place
    teachers = [folder / other.place / trained_file("teacher") for other in job.teachers]
    if job.stage == "teacher":
        train_teacher(job.recipe, prepared, place)
    elif job.stage == "student":
        recipe, start = job.recipe, job.start
        if start is not None:
            begun = folder / start.place / trained_file("student")
            recipe = replace(recipe, student=replace(recipe.student, start_from=str(begun)))
        train_student(recipe, prepared, place, teachers=teachers)
    else:
        train_qat(job.recipe, prepared, folder / job.under[0].place / trained_file("student"), place, teachers=teachers)


def _measured(job: Job, folder: Path) -> dict[str, Any]:
    """What the trained file says of every test utterance, in every condition, and how far it is from its teacher."""
    from edge_lupi.evaluate.reports import answers, open_model
    from edge_lupi.train.examples.corpus import prepare

    prepared = prepare(job.recipe)
    if prepared.task.kind != "classification":
        raise InputError(
            "expected a task with classes for a sweep, got one that compares voices: use edge-lupi evaluate"
        )
    place = folder / job.place
    model = open_model(place / trained_file(job.stage))
    labels = list(prepared.task.labels)
    test = prepared.split.validation if job.sweep.measure == "validation" else prepared.split.test
    if not test:
        raise InputError("expected speakers to measure on, got none: set data.validation_speakers in the recipe")
    heard = {_condition(snr): answers(model.answer, test, snr, model.trim_db) for snr in (None, *job.sweep.snr_db)}
    embeddings = np.stack([a.embedding for a in heard["clean"]])
    if job.stage == "teacher":
        packed = io.BytesIO()
        np.savez(packed, heard=embeddings)
        write_at_once(place / HEARD, packed.getvalue())
    return {
        "key": job.key,
        "arm": job.arm,
        "stage": job.stage,
        "fold": job.fold,
        "seed": job.seed,
        "labels": labels,
        "names": [u.name for u in test],
        "speakers": [u.speaker or u.name for u in test],
        "truth": [labels.index(u.label) for u in test],
        "said": {name: [int(a.scores.argmax()) for a in found] for name, found in heard.items()},  # type: ignore[union-attr]
        "distance": _distance(job, embeddings, folder),
    }


def _distance(job: Job, embeddings: np.ndarray, folder: Path) -> float | None:
    """Of a student's embeddings of the test utterances to those of its teacher, where there is one."""
    from edge_lupi.train.distil.embeddings import kept_scale
    from edge_lupi.train.sweep.gain import distance_to_teacher

    if len(job.teachers) != 1:
        return None
    place = folder / job.teachers[0].place
    scale = kept_scale(place / trained_file("teacher"))
    if scale is None:
        return None
    heard = unpacked_arrays(read_bounded(place / HEARD, LARGEST_BYTES), LARGEST_BYTES)["heard"]
    return distance_to_teacher(embeddings, heard, scale.numpy())


def _condition(snr_db: float | None) -> str:
    return "clean" if snr_db is None else f"{snr_db:g} dB"
