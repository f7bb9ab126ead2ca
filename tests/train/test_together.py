"""Two processes are one: the same batch norm and dropout, and through the command line the same losses."""

import os
import re
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE
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


def epochs(said: str) -> list[dict[str, float]]:
    """The losses of every epoch's line."""
    lines = re.findall(r"epoch \d/\d  (.*) left", said)
    return [{name: float(value) for name, value in re.findall(r"(\w+) ([0-9.]+)  ", line)} for line in lines]


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


def torchrun(folder: Path, *lines: str) -> tuple[str, str]:
    """Two processes that run these lines of edge-lupi, without a GPU; stdout and stderr."""
    (folder / "verbs.py").write_text(VERBS)
    (folder / "lines").write_text("\n".join(lines))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with subprocess.Popen(
        [*command, folder / "verbs.py", folder / "lines"], stdout=PIPE, stderr=PIPE, text=True, env=environment
    ) as launcher:
        try:
            said = launcher.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            launcher.terminate()  # which ends its processes; kill would not
            raise
    assert launcher.returncode == 0, said[1]
    return said


def test_under_torchrun_two_processes_lose_what_one_does(
    mood_chain: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A teacher with video and dropout; a student with all that may happen to its crops."""
    from edge_lupi.train.examples.corpus import prepare
    from edge_lupi.train.recipe import load_recipe
    from edge_lupi.train.stages.student import train_student

    changes = ["augment.mixup=0.4", "augment.reverb_share=0.5", "segments.every=2", "distil.soft=1", "student.epochs=2"]
    teacher = mood_chain.folder / "teacher.pt"
    recipe = load_recipe(mood_chain.recipe, changes)
    train_student(recipe, prepare(recipe), tmp_path / "one", teachers=[teacher])
    wanted = epochs(mood_chain.said["teacher"][1]) + epochs(capsys.readouterr().err)
    assert [set(losses) for losses in wanted] == [{"label"}] * 3 + [{"label", "encoder", "aggregator", "soft"}] * 2
    out, err = torchrun(
        tmp_path,
        f"train teacher {mood_chain.recipe} --out {tmp_path}",
        f"train student {mood_chain.recipe} --out {tmp_path} --teacher {teacher} --set {' --set '.join(changes)}",
    )
    for found, alone in zip(epochs(err), wanted, strict=True):
        assert found == pytest.approx(alone, abs=1e-3)
    assert out.count("trained on") == 2  # one of them speaks
