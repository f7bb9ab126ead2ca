"""Sameness of another machine: a worker must have this version, the sweep's folder and its data, at the same paths.

Dask gives `dask_worker` to what it runs outside a task.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from distributed import Worker

from edge_lupi import __version__
from edge_lupi.disk import read_bounded
from edge_lupi.errors import EdgeLupiError, InputError
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.examples.learnt import inputs_of
from edge_lupi.train.sweep.cluster import worker_place
from edge_lupi.train.sweep.plan import LOCK, Job

__all__ = ["Home", "check_data", "check_worker", "home_of"]

LARGEST_BYTES = 1 << 10


@dataclass(frozen=True)
class Home:
    """Where a sweep was started: its folder, what the lock file in it holds, and the versions of what trains."""

    folder: Path
    token: str
    versions: str


def home_of(folder: Path, token: str) -> Home:
    """The home of a sweep that this process starts."""
    import torch

    return Home(folder, token, f"edge-lupi {__version__} with torch {torch.__version__}")


def check_worker(job: Job, home: Home, dask_worker: Worker | None = None) -> None:
    """Raise InputError, in a worker, where it has other versions, another folder, or no corpus where the recipe says."""
    place, here = worker_place(dask_worker), home_of(home.folder, home.token)
    if here.versions != home.versions:
        raise InputError(f"expected {home.versions} in {place}, got {here.versions}: install the same there")
    try:
        if read_bounded(home.folder / LOCK, LARGEST_BYTES) != home.token.encode():
            raise InputError(f"expected the sweep's folder at {home.folder}, got another folder of that name")
        prepare(job.recipe)
    except EdgeLupiError as error:
        raise InputError(
            f"{place} lacks what the sweep needs, at the same paths as here: {error}", options=error.options
        ) from error


def check_data(job: Job, dask_worker: Worker | None = None) -> None:
    """Raise InputError, in a worker, where a file that the job learns from has other content than where the sweep was started."""
    if job.inputs and inputs_of(job.recipe, _corpora()) != job.inputs:
        raise InputError(
            f"expected the recordings of {job.recipe.data.root} as they are where the sweep was started, got others in {worker_place(dask_worker)}: copy them there again"
        )


@cache
def _corpora() -> dict[tuple[str, str], str]:
    """Digests of the corpora that this process has read."""
    return {}
