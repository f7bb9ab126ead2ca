"""Dask cluster that trains a sweep: workers of this machine, or those of a scheduler that already runs. -> Client.

    client ── tasks ──► scheduler ─┬─► worker: one training, one GPU or some threads
                                   └─► worker: ...                    a worker that dies: its training goes to another

The workers of this machine listen on the loopback alone, under TLS with a key that is made for the run and is never
written; nothing serves a dashboard or any other page. Their nannies restart those that die, and they end with the sweep,
also where that is killed.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dask
from distributed import Client, Nanny, Scheduler, SpecCluster, Worker, get_worker
from distributed.security import Security

from edge_lupi.errors import InputError

__all__ = ["local_client", "remote_client", "worker_faults", "worker_place"]

log = logging.getLogger(__name__)

LOST_WORKERS = 3  # that a training may lose before it counts as failed
CONNECT_SECONDS = 10
KILL_SECONDS = 0.5  # left to a worker, to end by itself, where the sweep is stopped
HERE: dict[str, Any] = {"host": "127.0.0.1", "protocol": "tls://", "dashboard": False}


class _Scheduler(Scheduler):  # type: ignore[misc]
    """A scheduler that serves no pages."""

    def start_http_server(self, *args: Any, **kwargs: Any) -> None:
        """Open no port."""


class _Worker(Worker):  # type: ignore[misc]
    """A worker that serves no pages."""

    def start_http_server(self, *args: Any, **kwargs: Any) -> None:
        """Open no port."""


@contextmanager
def local_client(workers: int, gpus: int, threads: int) -> Iterator[Client]:
    """So many workers on this machine, with so many threads each, and a GPU each (in turn) where there are any."""
    security, quiet = Security.temporary(), logging.CRITICAL
    common = {"nthreads": 1, "memory_limit": None, "worker_class": _Worker, "security": security, **HERE}
    nannies = {
        number: {"cls": Nanny, "options": {**common, "env": _environment(number, gpus, threads), "silence_logs": quiet}}
        for number in range(workers)
    }
    options = {"port": 0, "allowed_failures": LOST_WORKERS - 1, "security": security, **HERE}
    _silence()
    with (
        dask.config.set({"distributed.scheduler.worker-saturation": 1.0}),  # a training waits where any worker gets it
        SpecCluster(nannies, {"cls": _Scheduler, "options": options}, security=security, silence_logs=quiet) as cluster,
        Client(cluster) as client,
    ):
        try:
            yield client
        except BaseException:
            cluster.sync(_end_workers, cluster)
            raise


def _silence() -> None:
    """Dask's own log lines, and asyncio's of futures that nobody waits for any more: where a sweep is stopped, and the machine
    is busy, they come when the cluster, which holds them back, is gone already."""
    for name in ("distributed", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _environment(number: int, gpus: int, threads: int) -> dict[str, str]:
    """Of a worker's process: its threads, and its GPU where there are any."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**dict.fromkeys(names, str(threads)), **({"CUDA_VISIBLE_DEVICES": str(number % gpus)} if gpus else {})}


async def _end_workers(cluster: SpecCluster) -> None:
    """End the processes now: what they train goes on from its checkpoint another time."""
    nannies = cluster.workers.values()
    await asyncio.gather(*(nanny.close(timeout=KILL_SECONDS) for nanny in nannies), return_exceptions=True)


@contextmanager
def remote_client(address: str) -> Iterator[Client]:
    """The workers of a scheduler that runs already. Raises InputError where none answers at the address."""
    _silence()
    try:
        client = Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            f"expected a Dask scheduler at {address}, got no answer ({type(error).__name__}): start one there with dask scheduler, and give its address as tcp://HOST:8786"
        ) from error
    with client:
        if not client.scheduler_info()["workers"]:
            log.info(f"no worker at {address} yet: start some with {_command(address)}")
            client.wait_for_workers(1)
        yield client


def worker_faults(client: Client, check: Callable[..., None], *args: Any) -> list[str]:
    """What `check(*args, dask_worker)` finds wrong with the workers that are there, a sentence each."""
    found = client.run(check, *args, on_error="return").values()
    return [str(fault) for fault in found if isinstance(fault, BaseException)]


def worker_place(worker: Worker | None) -> str:
    """Machine and address of a worker; of the one whose task this is, where None is given.

    Raises InputError where it would do several trainings at once.
    """
    worker = worker or get_worker()
    place = f"the worker {worker.address} on {socket.gethostname()}"
    if worker.state.nthreads != 1:
        raise InputError(
            f"expected one thread in {place}, for one training at a time, got {worker.state.nthreads}: start it with {_command(worker.scheduler.address)}, as often as it shall train at once"
        )
    return place


def _command(address: str) -> str:
    return f"dask worker {address} --nthreads 1 --memory-limit 0 --no-dashboard --dashboard-address 127.0.0.1:0"
