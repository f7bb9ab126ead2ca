"""The workers of a sweep: who may reach them, which are refused, and what happens to their trainings when they end."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from edge_lupi.errors import InputError
from edge_lupi.train.examples.learnt import inputs_of
from edge_lupi.train.sweep import cluster
from edge_lupi.train.sweep.cluster import local_client, worker_faults
from edge_lupi.train.sweep.plan import LOCK, load_plan
from edge_lupi.train.sweep.same_data import check_data, check_worker, home_of

RECIPE = """
name = "tiny"
[data]
root = "{root}"
task = "mood"
test = "half0"
[segments]
seconds = 0.5
hop_seconds = 0.25
crop_seconds = 1.0
[teacher]
size = "pico"
epochs = 2
batch = 4
video = "features"
[student]
size = "pico"
epochs = 4
batch = 4
[sweep]
reference = "teacher"
[arms.teacher]
stage = "teacher"
[arms.taught]
under = ["teacher"]
[arms.untaught]
set = ["student.labels=0"]
[arms.int8]
stage = "qat"
under = ["untaught"]
"""
NO_PAGES = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0")  # without the second a page is served to everybody
WAIT_SECONDS = 300  # on a machine that does much else
WORKER = ("-m", "distributed.cli.dask_worker", "--host", "127.0.0.1", *NO_PAGES, "--memory-limit", "0")


@pytest.fixture(scope="module")
def recipe(mood_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folds of three voices each."""
    folder = tmp_path_factory.mktemp("cluster")
    rows = re.sub(r"(\d_\d\.(?:wav|npy))", rf"{mood_corpus.parent}/\1", mood_corpus.read_text()).splitlines()
    halves = [re.sub(r"(voice(\d),.*,)\w+$", lambda row: f"{row[1]}half{int(row[2]) % 2}", row) for row in rows]
    (folder / "halves.csv").write_text("\n".join(halves) + "\n")
    path = folder / "tiny.toml"
    path.write_text(RECIPE.format(root=folder / "halves.csv"))
    return path


def sweep(recipe: Path, folder: Path, *more: str) -> list[str]:
    words = ["train", "sweep", str(recipe), "--seeds", "2", "--arms", "taught"]
    return [sys.executable, "-m", "edge_lupi.cli", *words, "--out", str(folder), *more]


def begun(folder: Path, files: str, run: subprocess.Popen[str]) -> None:
    """Wait until a training has written such a file; folders may come and go while they are looked through."""
    until = time.monotonic() + WAIT_SECONDS
    while True:
        with suppress(FileNotFoundError):
            if list(folder.glob(f"*/*/*/{files}")):
                return
        assert run.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)


def told(folder: Path) -> Any:
    """The results, less how long each took."""
    results = json.loads((folder / "results.json").read_text())
    for row in (*results["summary"]["clean"].values(), *results["trainings"]):
        del row["seconds"]
    return results


@contextmanager
def process(*words: str) -> Iterator[subprocess.Popen[str]]:
    """A program of Dask, begun by hand; ended with all that it began."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    one = subprocess.Popen([sys.executable, *words], stderr=subprocess.DEVNULL, text=True, env=environment)
    try:
        yield one
    finally:
        for child in (*psutil.Process(one.pid).children(recursive=True), one):
            child.kill()
        one.wait()


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a scheduler on the loopback, with no workers."""
    told = tmp_path_factory.mktemp("scheduler") / "address.json"
    options = ("--host", "127.0.0.1", "--port", "0", *NO_PAGES, "--scheduler-file", str(told))
    with process("-m", "distributed.cli.dask_scheduler", *options):
        until = time.monotonic() + WAIT_SECONDS
        while True:
            with suppress(OSError, ValueError):
                address = str(json.loads(told.read_text())["address"])
                break
            assert time.monotonic() < until
            time.sleep(0.1)
        yield address


def test_the_same_table_where_a_worker_is_killed_in_the_middle(recipe: Path, scheduler: str, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    local = subprocess.run(sweep(recipe, here), capture_output=True, text=True, check=False)
    assert local.returncode == 0, local.stderr
    assert local.stderr.startswith("8 trainings to do, "), "progress from the first second"
    first = process(*WORKER, scheduler, "--nthreads", "1", "--no-nanny")
    second = process(*WORKER, scheduler, "--nthreads", "1", "--no-nanny")
    with first as doomed, second, subprocess.Popen(sweep(recipe, there, "--scheduler", scheduler), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:  # fmt: skip
        begun(there, "student.*", run)  # a checkpoint, or what a student that was faster than we look has left
        os.kill(doomed.pid, signal.SIGKILL)
        out, err = run.communicate(timeout=WAIT_SECONDS)
    assert run.returncode == 0, err
    assert err.count("/8 trainings  ") == 8
    rows = [[line.rsplit("|", 2)[0] for line in said.splitlines()[:4]] for said in (local.stdout, out)]  # less seconds
    assert rows[0] == rows[1]
    assert told(here) == told(there)


def test_a_worker_that_trains_several_at_once_is_refused(recipe: Path, scheduler: str, tmp_path: Path) -> None:
    with process(*WORKER, scheduler, "--nthreads", "2", "--no-nanny"):
        run = subprocess.Popen(sweep(recipe, tmp_path, "--scheduler", scheduler), stderr=subprocess.PIPE, text=True)
        _, err = run.communicate(timeout=WAIT_SECONDS)
    assert run.returncode == 1
    assert "expected one thread in the worker tcp://127.0.0.1:" in err
    assert f"got 2: start it with dask worker {scheduler} --nthreads 1 " in err
    assert "Traceback" not in err


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://x"])
def test_nobody_answers(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    with pytest.raises(InputError, match=f"expected a Dask scheduler at {address}, got no answer"), cluster.remote_client(address):  # fmt: skip
        pass


def test_only_this_machine_reaches_the_workers_and_only_the_same_data_are_trained_on(
    recipe: Path, scheduler: str, tmp_path: Path
) -> None:
    job = load_plan(recipe).jobs(["teacher"], ["half0"], [0], lambda recipe: inputs_of(recipe, {}))[0]
    (tmp_path / LOCK).write_text("this sweep")
    home = home_of(tmp_path, "this sweep")
    with local_client(1, 0, 1) as client:
        assert client.scheduler.address.startswith("tls://127.0.0.1:")
        assert client.cluster.dashboard_link in ("", None)
        us = psutil.Process()
        for one in (us, *us.children(recursive=True)):
            listening = [of.laddr for of in one.net_connections("inet") if of.status == "LISTEN"]
            assert all(ip == "127.0.0.1" for ip, _ in listening)
            assert len(listening) <= 2, "no more than scheduler and nanny, or the worker: nothing serves pages"

        assert worker_faults(client, check_worker, job, home) == []
        assert worker_faults(client, check_data, job) == []
        (said,) = worker_faults(client, check_worker, job, replace(home, token="another"))
        assert "lacks what the sweep needs, at the same paths as here: expected the sweep's folder at " in said
        (said,) = worker_faults(client, check_worker, job, replace(home, versions="edge-lupi 0"))
        assert said.startswith("expected edge-lupi 0 in the worker tls://127.0.0.1:")
        moved = replace(job, recipe=replace(job.recipe, data=replace(job.recipe.data, root="ravdess_over_there")))
        (said,) = worker_faults(client, check_worker, moved, home)
        assert re.search(r"lacks what the sweep needs.*at ravdess_over_there.*, got nothing there", said)
        (said,) = worker_faults(client, check_data, replace(job, inputs="of other recordings"))
        assert "as they are where the sweep was started, got others in the worker" in said
    assert not logging.getLogger("distributed.nanny").isEnabledFor(logging.INFO), "also once the cluster is gone"


def test_a_training_that_fails_is_named_and_the_others_go_on(recipe: Path, tmp_path: Path) -> None:
    words = sweep(recipe, tmp_path, "--arms", "int8,teacher", "--folds", "half0", "--seeds", "1")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    *_, last = done.stderr.splitlines()
    assert "1 of 3 trainings failed: untaught, half0, seed 0: expected a teacher where student.labels = 0" in last
    assert done.stderr.count("expected a teacher") == 2, "when it happens, and at the end"
    assert "1/3 trainings  teacher, half0, seed 0" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "half0/seed0/teacher/result.json").exists()


def test_ctrl_c_ends_the_workers_at_once(recipe: Path, tmp_path: Path) -> None:
    words = sweep(recipe, tmp_path, "--set", "teacher.epochs=500")
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
        begun(tmp_path, "teacher.checkpoint", run)
        workers = psutil.Process(run.pid).children(recursive=True)
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does
        _, err = run.communicate(timeout=WAIT_SECONDS)
    assert run.returncode == 130
    assert "Traceback" not in err
    assert err.count("\n") <= 2, err
    assert not psutil.wait_procs(workers, timeout=30)[1]
