"""One training of a sweep and its measurement, as a worker does it. Job -> files and result.json in the job's folder.

A worker does one at a time, so a result does not depend on what runs beside it. What a training writes to standard error
goes to log.txt in its folder.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import shutil
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import numpy as np

from edge_lupi.disk import TEMPORARY, clear_left_overs, entries, kind_of, read_bounded, unpacked_arrays, write_at_once
from edge_lupi.errors import EdgeLupiError, InputError
from edge_lupi.evaluate.answers import answers
from edge_lupi.evaluate.open import open_model
from edge_lupi.train.distil.embeddings import kept_scale
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.stages.qat import train_qat
from edge_lupi.train.stages.student import train_student
from edge_lupi.train.stages.teacher import train_teacher
from edge_lupi.train.sweep.gain import distance_to_teacher
from edge_lupi.train.sweep.plan import Job, trained_file
from edge_lupi.train.sweep.result import LARGEST_BYTES, Result, write_result
from edge_lupi.train.sweep.same_data import Home, check_data, check_worker
from edge_lupi.words import json_text

__all__ = ["do_job", "train_job"]

EMBEDDINGS = "heard.npz"  # a teacher's embeddings of the test utterances
BEGUN = "begun.json"  # [key, recipe]: what marks a folder as one that a sweep made, and may empty


def do_job(job: Job, folder: Path, home: Home | None, under: Sequence[float]) -> float:
    """Task of the cluster: `train_job`, after a look whether another machine has the same data. `under` was waited for."""
    if home is not None:
        try:
            check_worker(job, home)
            check_data(job)
        except EdgeLupiError as error:
            raise InputError(f"{job.title}: {error}", options=error.options) from error
    return train_job(job, folder)


def train_job(job: Job, folder: Path) -> float:
    """Train, measure and write a job's files. Returns its wall time in seconds; raises InputError that names the job."""
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    began, place = time.monotonic(), folder / job.place
    try:
        _make_ready(place, job)
        with (place / "log.txt").open("a", buffering=1, encoding="utf-8") as file, _logged_to(file):
            _train(job, folder)
            result = _measure(job, folder)
        seconds = time.monotonic() - began
        write_result(place, replace(result, seconds=round(seconds, 1)))
        for checkpoint in place.glob("*.checkpoint"):
            checkpoint.unlink(missing_ok=True)
    except EdgeLupiError as error:
        raise InputError(f"{job.title}: {error}", options=error.options) from error
    except OSError as error:
        raise InputError(
            f"{job.title}: could not write to {place} ({error.strerror}): free some space or choose another folder",
            options=("out",),
        ) from error
    except Exception as error:  # ours, or a GPU's memory that is full: the other trainings go on
        with contextlib.suppress(OSError), (place / "log.txt").open("a", encoding="utf-8") as file:
            traceback.print_exc(file=file)
        raise InputError(f"{job.title}: {type(error).__name__} ({str(error)[:200]}), see {place}/log.txt") from error
    return seconds


@contextlib.contextmanager
def _logged_to(file: TextIO) -> Iterator[None]:
    """Meanwhile what the library logs, and what others write to standard error, goes to this file."""
    handler, log = logging.StreamHandler(file), logging.getLogger("edge_lupi")
    handler.setLevel(logging.INFO)
    level, propagate = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        with contextlib.redirect_stderr(file):
            yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate


def _make_ready(place: Path, job: Job) -> None:
    """A folder that holds nothing but what this very training left. Only one that a sweep has made is emptied."""
    begun, content = place / BEGUN, json_text([job.key, job.recipe.plain()]).encode()
    place.mkdir(parents=True, exist_ok=True)
    files = [path for path in entries(place) if not path.name.startswith(TEMPORARY)]
    if files and not _is_marker(begun):
        raise InputError(
            f"expected {place} to be empty or a sweep's, got other files: choose another folder", options=("out",)
        )
    if files and read_bounded(begun, LARGEST_BYTES) != content:  # another recipe, corpus or version of edge-lupi
        for path in files:
            if kind_of(path) == "folder" and not path.is_symlink():
                shutil.rmtree(path)
            elif path != begun:  # last of all, by the next line: a kill between leaves the folder marked
                path.unlink()
    write_at_once(begun, content)
    clear_left_overs(place, inside=True)


def _is_marker(begun: Path) -> bool:
    """Whether the file is what a sweep writes into the folders that it makes."""
    if kind_of(begun) != "file":
        return False
    try:
        key, recipe = json.loads(read_bounded(begun, LARGEST_BYTES))
    except (ValueError, TypeError, RecursionError):
        return False
    return isinstance(key, str) and isinstance(recipe, dict) and "data" in recipe


def _train(job: Job, folder: Path) -> None:
    """Write teacher.pt, student.pt or student.int8.pt, from the job's checkpoint where there is one."""
    recipe, prepared, place = job.recipe, prepare(job.recipe), folder / job.place
    teachers = [folder / other.place / trained_file("teacher") for other in job.teachers]
    if job.stage == "teacher":
        train_teacher(recipe, prepared, place)
    elif job.stage == "student":
        if job.start is not None:
            first = folder / job.start.place / trained_file("student")
            recipe = replace(recipe, student=replace(recipe.student, start_from=str(first)))
        train_student(recipe, prepared, place, teachers=teachers)
    else:
        train_qat(recipe, prepared, folder / job.under[0].place / trained_file("student"), place, teachers=teachers)


def _measure(job: Job, folder: Path) -> Result:
    """Answers of the trained file for every test utterance in every condition, and its distance to the teacher."""
    prepared = prepare(job.recipe)
    if prepared.task.verifies:
        raise InputError(
            "expected a task with classes for a sweep, got one that compares voices: use edge-lupi evaluate"
        )
    place, labels = folder / job.place, prepared.task.labels
    model = open_model(place / trained_file(job.stage))
    test = prepared.split.validation if job.sweep.measure == "validation" else prepared.split.test
    if not test:
        raise InputError("expected speakers to measure on, got none: set data.validation_speakers in the recipe")
    told = {_condition(snr): answers(model.answer, test, snr, model.trim_db) for snr in (None, *job.sweep.snr_db)}
    embeddings = np.stack([answer.embedding for answer in told["clean"]])
    if job.stage == "teacher":
        packed = io.BytesIO()
        np.savez(packed, heard=embeddings)
        write_at_once(place / EMBEDDINGS, packed.getvalue())
    return Result(
        key=job.key,
        arm=job.arm,
        stage=job.stage,
        fold=job.fold,
        seed=job.seed,
        labels=tuple(labels),
        names=tuple(utterance.name for utterance in test),
        speakers=tuple(utterance.speaker or utterance.name for utterance in test),
        truth=tuple(labels.index(utterance.label) for utterance in test),
        said={name: tuple(int(one.scores.argmax()) for one in of) for name, of in told.items()},  # type: ignore[union-attr]
        distance=_distance(job, embeddings, folder),
        seconds=0.0,
        teachers=job.teacher_names,
    )


def _distance(job: Job, embeddings: np.ndarray, folder: Path) -> float | None:
    """Mean squared distance of test embeddings [N, D] to the teacher's; None without exactly one teacher."""
    if len(job.teachers) != 1:
        return None
    place = folder / job.teachers[0].place
    scale = kept_scale(place / trained_file("teacher"))
    if scale is None:
        return None
    arrays = unpacked_arrays(read_bounded(place / EMBEDDINGS, LARGEST_BYTES), LARGEST_BYTES)
    return distance_to_teacher(embeddings, arrays["heard"], scale.numpy())


def _condition(snr_db: float | None) -> str:
    return "clean" if snr_db is None else f"{snr_db:g} dB"
