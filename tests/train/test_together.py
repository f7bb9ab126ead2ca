"""Two processes are one: the same batch norm and dropout, and through the command line the same losses."""

import json
import os
import socket
import sys
from pathlib import Path
from subprocess import PIPE, CompletedProcess, Popen
from typing import Any

import pytest
import torch
from torch import distributed, nn
from torch import multiprocessing as processes

from edge_lupi.train.together import act_as_one

ROWS = 6


def network() -> nn.Module:
    torch.manual_seed(1)
    flat = nn.Sequential(nn.Dropout(0.4), nn.Linear(4 * 2 * 4, 5), nn.BatchNorm1d(5))
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, momentum=0.3), nn.Flatten(), flat)


def two_steps(module: nn.Module, rows: slice) -> dict[str, Any]:
    """Outputs, gradients and buffers after two batches of which this process has some rows."""
    pictures = torch.randn(2, ROWS, 1, 4, 6, generator=torch.Generator().manual_seed(2)) * 3 + 1
    torch.manual_seed(3)
    outputs = [module(batch[rows].contiguous()) for batch in pictures]
    sum((output**3).mean() for output in outputs).backward()  # type: ignore[union-attr]
    gradients = {name: parameter.grad for name, parameter in module.named_parameters()}
    heard = module.eval()(pictures[0]).detach()
    return {"out": torch.stack(outputs).detach(), "grad": gradients, "state": module.state_dict(), "eval": heard}


def process(rank: int, folder: Path) -> None:
    """One of two."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    module = network()
    act_as_one(module)
    torch.save(two_steps(module, slice(rank * ROWS // 2, (rank + 1) * ROWS // 2)), folder / f"{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_normalise_and_drop_as_one(tmp_path: Path) -> None:
    processes.spawn(process, (tmp_path,), nprocs=2)
    alone = two_steps(network(), slice(None))
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    torch.testing.assert_close(torch.cat([first["out"], second["out"]], 1), alone["out"])
    for name, wanted in alone["grad"].items():
        torch.testing.assert_close((first["grad"][name] + second["grad"][name]) / 2, wanted, msg=name)
    for found in (first, second):
        assert list(found["state"]) == list(alone["state"])
        torch.testing.assert_close(found["state"], alone["state"])
        torch.testing.assert_close(found["eval"], alone["eval"])


def history(folder: Path, stage: str) -> list[dict[str, float]]:
    """The losses of every epoch."""
    return json.loads((folder / f"{stage}.history.json").read_text())


VERBS = """
import sys
from edge_lupi.cli import main

for line in open(sys.argv[1]).read().splitlines():
    sys.argv = ["edge-lupi", *line.split()]
    try:
        main()
    except SystemExit as exit:
        assert not exit.code
"""


def run_torch(*commands: list[Any]) -> list[CompletedProcess[str]]:
    """torchrun once per machine, without a GPU."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    launcher = [sys.executable, "-m", "torch.distributed.run"]
    launchers = [Popen([*launcher, *words], stdout=PIPE, stderr=PIPE, text=True, env=environment) for words in commands]  # fmt: skip
    try:
        said = [one.communicate(timeout=120) for one in launchers]
        return [CompletedProcess(one.args, one.returncode, *of) for one, of in zip(launchers, said, strict=True)]
    finally:
        for one in launchers:
            one.terminate()  # which ends its processes; kill would not
            one.wait()


def torchrun(folder: Path, *lines: str) -> tuple[str, str]:
    """Two processes that run these lines of edge-lupi; stdout and stderr."""
    (folder / "verbs.py").write_text(VERBS)
    (folder / "lines").write_text("\n".join(lines))
    (done,) = run_torch(["--standalone", "--nproc-per-node", "2", folder / "verbs.py", folder / "lines"])
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def two_machines(words: list[Any], *folders: Path) -> list[CompletedProcess[str]]:
    """A process on each of two "machines" on the loopback, with an --out of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meeting = ["--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "127.0.0.1", "--master-port", port]
    verb = ["-m", "edge_lupi.cli", *words, "--out"]
    first, second = ([*meeting, "--node-rank", str(rank), *verb, folder] for rank, folder in enumerate(folders))
    return run_torch(first, second)


def test_under_torchrun_two_processes_lose_what_one_does(mood_chain: Any, tmp_path: Path) -> None:
    """A teacher with video and dropout; a student with all that may happen to its crops."""
    from edge_lupi.train.examples.corpus import prepare
    from edge_lupi.train.recipe import load_recipe
    from edge_lupi.train.stages.student import train_student

    changes = ["augment.mixup=0.4", "augment.reverb_share=0.5", "segments.every=2", "distil.soft=1", "student.epochs=2"]
    teacher = mood_chain.folder / "teacher.pt"
    recipe = load_recipe(mood_chain.recipe, changes)
    train_student(recipe, prepare(recipe), tmp_path / "one", teachers=[teacher])
    wanted = history(mood_chain.folder, "teacher") + history(tmp_path / "one", "student")
    assert [set(losses) for losses in wanted] == [{"label"}] * 3 + [{"label", "encoder", "aggregator", "soft"}] * 2
    out, _ = torchrun(
        tmp_path,
        f"train teacher {mood_chain.recipe} --out {tmp_path}",
        f"train student {mood_chain.recipe} --out {tmp_path} --teacher {teacher} --set {' --set '.join(changes)}",
    )
    for found, alone in zip(history(tmp_path, "teacher") + history(tmp_path, "student"), wanted, strict=True):
        assert found == pytest.approx(alone, abs=1e-3)
    assert out.count("trained on") == 2  # one of them speaks


def test_two_machines_lose_what_one_process_does(mood_chain: Any, tmp_path: Path) -> None:
    """Without a disk that both see: then nothing may be taken up again on one of them alone."""
    near, far = tmp_path / "near", tmp_path / "far"
    for folder in (near, far):
        folder.mkdir()
    words = ["train", "student", mood_chain.recipe, "--teacher", mood_chain.folder / "teacher.pt"]
    first, second = two_machines(words, near, far)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    wanted = history(mood_chain.folder, "student")
    assert len(wanted) == 3
    for losses, alone in zip(history(near, "student"), wanted, strict=True):
        assert losses == pytest.approx(alone, abs=1e-3)
    assert first.stdout.count("trained on") == 1
    assert "epoch" not in second.stderr, "one of them speaks"
    assert [(folder / "student.pt").exists() for folder in (near, far)] == [True, False]

    again = two_machines(words, near, far)
    assert all(done.returncode for done in again)
    said = "".join(done.stderr for done in again)
    assert "expected a checkpoint that every machine sees, got epochs 0 and 3: give all a folder on one shared" in said
